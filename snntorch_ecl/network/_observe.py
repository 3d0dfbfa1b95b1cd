"""Observe layers while a network runs; everything that measures a network uses this.

A run is split into groups of images and pieces of steps (:mod:`snntorch_ecl.network._pieces`).
Observers see each layer's values piece by piece, so memory grows neither with T nor with the
batch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from ..graph._names import module_of
from ..nn._temporal import Temporal

__all__ = ["Observer", "Seen", "timed_nodes"]


@dataclass(frozen=True)
class Seen:
    """Input and output of one call of a layer, in one piece of a run.

    Attributes:
        name: Qualified name of the layer.
        call: Name of its call in the graph: a layer may be called several times.
        input: ``[steps·B, ...]``, time-major; ``[B, ...]`` if it is the same at every step.
        output: ``[steps·B, ...]``; ``[B, ...]`` before the first neuron.
        num_steps: Steps in this piece.
        timed: Whether the layer runs at every step; layers before the first neuron run once, unless
            the input changes.
        others: What else it reads, as the second operand of a product.
    """

    name: str
    call: str
    input: Tensor
    output: Tensor
    num_steps: int
    timed: bool
    others: tuple[Any, ...] = ()


class Observer:
    """Sees some layers while a network runs: for ``logits_over_time`` and ``forward_steps``.

    Args:
        layers: Qualified names of the layers to see.

    Example:
        >>> import torch, snntorch_ecl as ecl
        >>> class Spikes(Observer):
        ...     total = 0
        ...     def see(self, seen):
        ...         self.total += int((seen.output != 0).sum())
        >>> snn = ecl.convert(torch.nn.Sequential(ecl.ThresholdClip(4, 1.0), torch.nn.Linear(8, 2)))
        >>> spikes = Spikes(["0"])
        >>> _ = snn.logits_over_time(torch.ones(5, 8), num_steps=32, observers=[spikes])
        >>> spikes.total  # 5 images, 8 neurons, a spike at each step
        1280
    """

    def __init__(self, layers: Collection[str]) -> None:
        self.layers = frozenset(layers)

    def begin(self, *inputs: Tensor) -> None:
        """Called when a group of images ``[B, ...]`` begins, from a fresh state."""

    def see(self, seen: Seen) -> None:
        """Called after a layer has run for some steps."""

    def end(self) -> None:
        """Called after the group has run for all its steps."""


def timed_nodes(net: GraphModule) -> set[Node]:
    """Nodes that run at every step: layers with state, and what reads them."""
    found: set[Node] = set()
    for node in net.graph.nodes:
        stateful = isinstance(module_of(net, node), Temporal)
        if stateful or any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found


class Watching(Interpreter):
    """Runs a graph with time inserted, and shows observers their layers."""

    num_steps = 1  # of the running piece

    def __init__(
        self, net: GraphModule, observers: Sequence[Observer] = (), *, held: bool = True
    ) -> None:
        super().__init__(net)
        self.extra_traceback = False  # do not rewrite the errors of layers and observers
        self._observers: Mapping[str, list[Observer]] = {
            name: [o for o in observers if name in o.layers]
            for name in {name for o in observers for name in o.layers}
        }
        # Input that changes is computed anew at every step.
        self._timed = timed_nodes(net) if held else set(net.graph.nodes)

    def run_node(self, n: Node) -> Any:
        """Run one node, and show it to its observers."""
        value = super().run_node(n)
        if n.op == "call_module" and n.target in self._observers:
            (first, *others), _ = self.fetch_args_kwargs_from_env(n)
            place = str(n.target), n.name
            timed = n in self._timed
            seen = Seen(*place, first, value, self.num_steps, timed, tuple(others))
            for observer in self._observers[str(n.target)]:
                observer.see(seen)
        return value
