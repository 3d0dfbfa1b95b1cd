"""Long runs in pieces: a few images and a few steps at a time, with equal spikes.

All T steps of a batch at once would need T times the memory of one, and on a CPU more time as
well: tensors that fit no cache travel to memory and back at each layer, and buffers too large for
the allocator to keep are handed back to the system and fetched anew, page by page. So a batch
runs in groups of images, which know nothing of each other, and long runs in pieces of a few
steps, with the state carried over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from .._util.torch_internals import has_hooks, observed_globally, tree_leaves
from ..nn._temporal import Temporal, temporal_layers
from ._observe import Observer, Watching

_MIB = 2**20
# Half of glibc's largest threshold, from which on every buffer is fetched from the system.
_ROOM_ON_CPU = 16 * _MIB
# Other allocators keep what they have; there the room bounds memory and nothing else.
_ROOM = 256 * _MIB
# Steps in a piece: beyond, carrying the state over no longer counts.
_MOST_STEPS = 8


def may_be_cut(net: GraphModule) -> bool:
    """Whether nothing but the result would tell a run in pieces from a whole one.

    Forward hooks see all steps of a layer at once, and batch norms that train see all its rows.
    """
    if net.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return not (observed_globally() or has_hooks(*net.modules()))


@dataclass(frozen=True)
class Footprint:
    """What one step with one image takes.

    Attributes:
        largest: Bytes of the largest tensor.
        in_groups: Whether a batch may run in groups: every layer with state can set its state
            aside, and every output is a tensor of the images.
    """

    largest: int
    in_groups: bool


def footprint(net: GraphModule, inputs: tuple[Tensor, ...], images: int) -> Footprint:
    """Measure a step with one image.

    Args:
        net: A graph with time inserted; its state is used.
        inputs: ``[B, ...]``, or ``[T·B, ...]``.
        images: B. Layers that run in no groups are shown all of them: who knows whether, reset,
            they would take a batch of another size.

    Returns:
        The measurement.
    """
    layers = temporal_layers(net)
    for layer in layers:
        layer.begin()
    parks = all(type(layer).park is not Temporal.park for layer in layers)
    rows = 1 if parks else images
    meter = _Meter(net)
    outputs = tree_leaves(meter.run(*(x[:rows] for x in inputs), 1, 1))
    largest = -(-meter.largest // rows)
    return Footprint(largest, parks and all(isinstance(v, Tensor) for v in outputs))


@dataclass(frozen=True)
class Plan:
    """How a run is cut.

    Attributes:
        images: How many at once.
        steps: How many at once.
    """

    images: int
    steps: int


def plan(one: Footprint, images: int, num_steps: int, device: torch.device) -> Plan:
    """Cut a run so that its largest tensor stays small, at as few places as possible.

    Args:
        one: What one step with one image takes.
        images: B.
        num_steps: T.
        device: Where the network runs.

    Returns:
        The plan; powers of two where they cut, so that compiled loops are compiled for few
        lengths.

    Example:
        >>> plan(Footprint(2**18, in_groups=True), 32, 4, torch.device("cpu"))  # 32 MiB in all
        Plan(images=16, steps=4)
        >>> plan(Footprint(2**18, in_groups=False), 32, 4, torch.device("cpu"))
        Plan(images=32, steps=2)
    """
    rows = _power_of_two(_room(device) // one.largest)
    if images * num_steps <= rows:
        return Plan(images, num_steps)
    if not one.in_groups:
        return Plan(images, _power_of_two(rows // images))
    steps = min(num_steps, rows, _MOST_STEPS)
    return Plan(_power_of_two(rows // steps), steps)


def groups(net: GraphModule, images: Tensor, num_steps: int) -> Sequence[Tensor]:
    """Cut a batch so that T steps at once of each part keep the largest tensor small."""
    one = footprint(net, (images,), len(images))
    if not one.in_groups:
        return [images]
    at_once = _power_of_two(_room(images.device) // (one.largest * num_steps))
    return torch.split(images, at_once)


def _room(device: torch.device) -> int:
    return _ROOM_ON_CPU if device.type == "cpu" else _ROOM


def _power_of_two(number: int) -> int:
    """The largest one that is not larger, and at least 1."""
    return 1 << max(0, number.bit_length() - 1)


class _Meter(Interpreter):
    """Runs a graph and notes the bytes of its largest tensor."""

    largest = 1

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        sizes = [v.numel() * v.element_size() for v in tree_leaves(value) if isinstance(v, Tensor)]
        self.largest = max(self.largest, *sizes, 0)
        return value


def teach_allocator() -> None:
    """Let the C library keep the buffers of runs in pieces instead of handing them back.

    glibc keeps free memory up to twice the largest buffer it has seen freed, of those below
    32 MiB: one such buffer, freed at once, is enough. Elsewhere this does nothing.
    """
    torch.empty(31 * _MIB, dtype=torch.uint8)


def run(
    net: GraphModule,
    inputs: tuple[Tensor, ...],
    num_steps: int,
    *,
    held: bool,
    piece: int,
    observers: Sequence[Observer] = (),
) -> Iterator[tuple[int, Any]]:
    """Run T steps in pieces, going on from the present state.

    Args:
        net: A graph with time inserted.
        inputs: ``[B, ...]`` if they are held, else ``[T·B, ...]``.
        num_steps: T.
        held: Whether the inputs are the same at every step; what depends on them alone is then
            computed once for all pieces.
        piece: Steps in a piece; the last ones may be shorter.
        observers: They are shown the layers they want to see.

    Yields:
        The number of steps of a piece, and its outputs ``[steps·B, ...]``.
    """
    interpreter = Watching(net, observers)
    *inputs_, steps_, held_ = (n for n in net.graph.nodes if n.op == "placeholder")
    env: dict[Node, Any] = {}
    if held:
        env = dict(zip(inputs_, inputs, strict=True))
        _run_stem(interpreter, env, {steps_, held_})
    rows = len(inputs[0]) // num_steps
    start = 0
    for steps in _lengths(num_steps, piece):
        interpreter.num_steps = steps
        env[steps_], env[held_] = steps, steps if held else 1
        if not held:
            cut = slice(start * rows, (start + steps) * rows)
            env.update({node: x[cut] for node, x in zip(inputs_, inputs, strict=True)})
        # A copy: the interpreter works in it, and frees values once they are used.
        yield steps, interpreter.run(initial_env=dict(env))
        start += steps


def _run_stem(interpreter: Interpreter, env: dict[Node, Any], time: set[Node]) -> None:
    """Compute everything that does not depend on time, into ``env``."""
    interpreter.env = env
    timed = set(time)
    for node in interpreter.graph.nodes:
        if node.op == "output" or any(source in timed for source in node.all_input_nodes):
            timed.add(node)
        elif node not in env and node not in timed:
            env[node] = interpreter.run_node(node)


def _lengths(num_steps: int, piece: int) -> Iterator[int]:
    """Whole pieces, then what remains in halves, so that few lengths occur.

    Example:
        >>> list(_lengths(15, 4))
        [4, 4, 4, 2, 1]
    """
    while num_steps:
        while piece > num_steps:
            piece = (piece + 1) // 2
        yield piece
        num_steps -= piece
