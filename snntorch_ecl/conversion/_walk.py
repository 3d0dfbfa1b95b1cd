"""Run a network with time layer by layer: all images before the next neuron."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Interpreter, Node

from .._util.shelf import Shelf, dropped, loaded
from .._util.torch_internals import tree_map
from ..graph._names import module_of
from ..nn import Temporal, unfold


class Arrived(NamedTuple):
    """What reaches a neuron (or the output), and what the layer before it read.

    Attributes:
        current: ``[T·B, ...]``, or ``[B, ...]`` if it is the same at every step.
        held: How many steps each row of the current stands for.
        input: The layer's input, ``[T·B, ...]`` or ``[B, ...]``; None if there is no such layer.
        shape: The layer's output for one row.
    """

    current: Any
    held: int
    input: Tensor | None
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class _Segment:
    """The nodes that one neuron needs and no earlier one did, in order.

    Attributes:
        end: The neuron, or the output.
        nodes: What runs before it.
        reads: Values from earlier segments.
        kept: Values that later segments read.
        drops: For each node, the values that nothing reads after it.
    """

    end: Node
    nodes: tuple[Node, ...]
    reads: frozenset[Node]
    kept: frozenset[Node]
    drops: dict[Node, list[Node]]


class Walk(Interpreter):
    """Groups of images on their way through a network, from one neuron to the next.

    So a layer can be corrected with all images before any of them goes on. Between two neurons
    the values of all groups are on a shelf; memory holds those of one group.
    """

    def __init__(self, net: GraphModule, neurons: Collection[str], num_steps: int) -> None:
        super().__init__(net)
        self.extra_traceback = False
        self._num_steps = num_steps
        self._image, self._steps, self._held = (
            node for node in self.graph.nodes if node.op == "placeholder"
        )
        self._segments = _segments(self.graph, neurons)
        self._envs: list[dict[Node, Any]] = []

    def start(self, images: Tensor, shelf: Shelf) -> int:
        """Add a group of images at the beginning; returns its number."""
        self._shelf = shelf
        steps = self._num_steps
        self._envs.append({self._image: shelf.put(images), self._steps: steps, self._held: steps})
        return len(self._envs) - 1

    def ends(self) -> Iterator[str | None]:
        """The neurons by name, in order, and None for the output: where the groups are now."""
        for segment in self._segments:
            self._segment = segment
            yield str(segment.end.target) if segment.end.op == "call_module" else None

    def arrivals(self, groups: Iterable[int], layer: nn.Module | None = None) -> Iterator[Arrived]:
        """What reaches the present neuron in some groups; ``layer`` is the one before it."""
        for group in groups:
            self.env = self._loaded(self._envs[group])
            yield self._arrive(layer)

    def means(self, groups: Iterable[int], shifts: Tensor | None = None) -> Iterator[Any]:
        """What the present neuron gives on average over T; at the end, the network's outputs."""
        output = self._segment.end.op == "output"
        for arrived in self.arrivals(groups):
            values = arrived.current if output else self._fire(arrived, shifts)
            yield tree_map(self._mean, values)

    def _mean(self, value: Any) -> Any:
        """Over T, as :class:`~snntorch_ecl.network.SpikingNetwork` averages its outputs."""
        return unfold(value, self._num_steps).mean(0) if isinstance(value, Tensor) else value

    def cross(self, shifts: Tensor | None) -> None:
        """Take all groups past the present neuron, with ``shifts`` ``[T, C]`` on its current."""
        segment = self._segment
        for env in self._envs:
            self.env = self._loaded(env)
            arrived = self._arrive(None)
            output = self._fire(arrived, shifts)
            passed = {**{n: v for n, v in self.env.items() if n not in env}, segment.end: output}
            for node in [node for node in env if node not in segment.kept]:
                dropped(env.pop(node))
            env.update({n: self._shelf.put_all(v) for n, v in passed.items() if n in segment.kept})

    def _loaded(self, env: dict[Node, Any]) -> dict[Node, Any]:
        return {node: loaded(env[node]) for node in self._segment.reads}

    def _arrive(self, layer: nn.Module | None) -> Arrived:
        """Run the present segment up to its neuron."""
        seen: tuple[Any, Any] = (None, None)
        for node in self._segment.nodes:
            module: Any = module_of(self.module, node)  # type: ignore[arg-type]
            if isinstance(module, Temporal):
                module.begin()
            value = self.run_node(node)
            if module is not None and module is layer:
                seen = self.env[node.args[0]], value.shape[1:]  # type: ignore[index]
            self.env[node] = value
            for read in self._segment.drops[node]:
                del self.env[read]
        end = self._segment.end
        held: Any = end.kwargs.get("held", 1)
        held = self.env[held] if isinstance(held, Node) else held
        current = self.map_nodes_to_values(end.args[0], end)
        return Arrived(current, held, *seen)

    def _fire(self, arrived: Arrived, shifts: Tensor | None) -> Any:
        """What the neuron makes of its current, over all steps."""
        neuron, current, held = self.fetch_attr(str(self._segment.end.target)), *arrived[:2]
        if shifts is not None:
            current, held = shifted(unfold(current, self._num_steps, held), shifts), 1
        neuron.begin()
        return neuron(current, num_steps=self._num_steps, held=held)


def shifted(steps: Tensor, shifts: Tensor) -> Tensor:
    """Currents ``[T, B, C, ...]`` with a shift for each step and channel, as ``[T·B, C, ...]``."""
    shape = (len(shifts), 1, -1, *[1] * (steps.ndim - 3))
    return (steps + shifts.view(shape)).flatten(0, 1)


def _segments(graph: Graph, neurons: Collection[str]) -> list[_Segment]:
    """Cut a graph at its neurons; each part holds what its neuron needs and no earlier one did.

    So a layer whose output goes to one neuron alone is in that neuron's part, wherever in the code
    it is called.
    """
    ends = [n for n in graph.nodes if n.op == "call_module" and n.target in neurons]
    ends.append(next(n for n in graph.nodes if n.op == "output"))
    done = {node for node in graph.nodes if node.op == "placeholder"}
    parts: list[list[Node]] = []
    for end in ends:
        needed = _needed(end, done)
        parts.append([node for node in graph.nodes if node in needed])
        done |= {*needed, end}
    found: list[_Segment] = []
    later: frozenset[Node] = frozenset()
    for end, nodes in reversed(list(zip(ends, parts, strict=True))):
        read = {source for node in (*nodes, end) for source in node.all_input_nodes}
        reads = frozenset(read - set(nodes))
        drops = _drops(nodes, {*end.all_input_nodes, *later})
        found.append(_Segment(end, tuple(nodes), reads, later, drops))
        later = (later | reads) - {*nodes, end}
    return found[::-1]


def _needed(end: Node, done: set[Node]) -> set[Node]:
    """What must run before a node, beyond what has run."""
    needed: set[Node] = set()
    waiting = list(end.all_input_nodes)
    while waiting:
        node = waiting.pop()
        if node not in done and node not in needed:
            needed.add(node)
            waiting += node.all_input_nodes
    return needed


def _drops(nodes: list[Node], kept: set[Node]) -> dict[Node, list[Node]]:
    """For each node, what is read there for the last time."""
    drops: dict[Node, list[Node]] = {}
    seen = set(kept)
    for node in reversed(nodes):
        drops[node] = [source for source in node.all_input_nodes if source not in seen]
        seen |= set(node.all_input_nodes)
    return drops
