"""Long runs in pieces: a few images and a few steps at a time, with equal spikes.

All T steps of a batch at once would need T times the memory of one step. On a CPU they would also
take longer: tensors larger than the caches go through memory at each layer, and the allocator
returns very large buffers to the system and requests them again, page by page. So a batch runs in
groups of images, which are independent, and long runs in pieces of a few steps, with the state
carried over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from .._util.torch_internals import can_be_read, has_hooks, observed_globally, tree_leaves
from ..nn._dual_threshold import DualThreshold
from ..nn._temporal import Temporal, temporal_layers
from ._observe import Observer, Watching

_MIB = 2**20
# Half of 32 MiB; glibc requests every buffer of that size or more from the system.
_ROOM_ON_CPU = 16 * _MIB
# Other allocators keep freed buffers; there the limit only bounds memory.
_ROOM = 256 * _MIB
# Steps in a piece: with this many, the cost of carrying the state over is negligible.
_MOST_STEPS = 8


def may_be_cut(net: GraphModule, inputs: tuple[Tensor, ...]) -> bool:
    """Whether a run may be split: no gradients, no hooks, not training, not compiling or tracing.

    Forward hooks and batch norms in training must see all rows of a layer at once.
    """
    return not (net.training or torch.is_grad_enabled()) and may_be_compiled(net, inputs)


def may_be_compiled(net: GraphModule, inputs: tuple[Tensor, ...]) -> bool:
    """Whether compiled code may stand for a run: not inside a compiler or tracer, and no hooks."""
    if not all(map(can_be_read, inputs)):
        return False
    return not (observed_globally() or has_hooks(*net.modules()))


@dataclass(frozen=True)
class Footprint:
    """What one step with one image needs.

    Attributes:
        largest: Size of the largest tensor, in bytes.
        in_groups: Whether a batch may run in groups: every layer with state can park it, and
            every output is a tensor.
    """

    largest: int
    in_groups: bool


def footprint(net: GraphModule, inputs: tuple[Tensor, ...], images: int) -> Footprint:
    """Run one step with the first image (of ``images``), and measure what it needs.

    Layers that cannot park their state get the whole batch: a reset may not change the batch size
    they accept.
    """
    layers = temporal_layers(net)
    parks = all(type(layer).park is not Temporal.park for layer in layers)
    rows = 1 if parks else images
    meter = _Meter(net)
    meter.extra_traceback = False  # do not rewrite the errors of layers
    neurons = [layer for layer in layers if isinstance(layer, DualThreshold)]
    fused = [neuron.fused for neuron in neurons]
    for neuron in neurons:
        neuron.fused = False  # one step is not worth a compilation
    try:
        for layer in layers:
            layer.begin()
        outputs = tree_leaves(meter.run(*(x[:rows] for x in inputs), 1, 1))
    finally:
        for layer in layers:
            layer.end()
        for neuron, before in zip(neurons, fused, strict=True):
            neuron.fused = before
    largest = -(-meter.largest // rows)
    return Footprint(largest, parks and all(isinstance(v, Tensor) for v in outputs))


@dataclass(frozen=True)
class Plan:
    """How a run is split.

    Attributes:
        images: Images to run at once.
        steps: Steps to run at once.
    """

    images: int
    steps: int


def plan(one: Footprint, images: int, num_steps: int, device: torch.device) -> Plan:
    """Split a run into as few parts as keep its largest tensor small.

    Parts have powers of two of images and steps, so that loops are compiled for few lengths.

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


def whole_plan(one: Footprint, images: int, num_steps: int, device: torch.device) -> Plan:
    """Groups of images that run all steps at once; a single image does in any case."""
    rows = _power_of_two(_room(device) // one.largest)
    return Plan(max(1, min(images, rows // num_steps)), num_steps)


def groups(net: GraphModule, images: Tensor, num_steps: int) -> Sequence[Tensor]:
    """Split a batch so that T steps at once of each part keep the largest tensor small."""
    one = footprint(net, (images,), len(images))
    if not one.in_groups:
        return [images]
    at_once = _power_of_two(_room(images.device) // (one.largest * num_steps))
    return torch.split(images, at_once)


def _room(device: torch.device) -> int:
    return _ROOM_ON_CPU if device.type == "cpu" else _ROOM


def _power_of_two(number: int) -> int:
    """The largest power of two that is at most ``number``, and at least 1."""
    return 1 << max(0, number.bit_length() - 1)


class _Meter(Interpreter):
    """Runs a graph and records the size of its largest tensor, in bytes."""

    largest = 1

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        sizes = [v.numel() * v.element_size() for v in tree_leaves(value) if isinstance(v, Tensor)]
        self.largest = max(self.largest, *sizes, 0)
        return value


def teach_allocator() -> None:
    """Make the C library keep freed buffers instead of returning them to the system.

    glibc keeps up to twice the size of the largest buffer below 32 MiB that was ever freed. So
    allocating and freeing one such buffer is enough. Other C libraries are not affected.
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
    """Run T steps in pieces from the present state; yields steps and outputs ``[steps·B, ...]``.

    Inputs are ``[B, ...]`` if ``held``, else ``[T·B, ...]``. If held, what depends on them alone
    is computed once for all pieces.
    """
    interpreter = Watching(net, observers, held=held)
    *inputs_, steps_, held_ = (n for n in net.graph.nodes if n.op == "placeholder")
    env: dict[Node, Any] = {}
    if held:
        env = dict(zip(inputs_, inputs, strict=True))
        _run_stem(interpreter, env, {steps_, held_})
    rows = inputs[0].shape[0] // num_steps
    start = 0
    for steps in _lengths(num_steps, piece):
        interpreter.num_steps = steps
        env[steps_], env[held_] = steps, steps if held else 1
        if not held:
            cut = slice(start * rows, (start + steps) * rows)
            env.update({node: x[cut] for node, x in zip(inputs_, inputs, strict=True)})
        # A copy: the interpreter adds to it and removes values once they are used.
        yield steps, interpreter.run(initial_env=dict(env))
        start += steps


def _run_stem(interpreter: Interpreter, env: dict[Node, Any], time: set[Node]) -> None:
    """Compute everything that does not depend on time; store it in ``env``."""
    interpreter.env = env
    timed = set(time)
    for node in interpreter.graph.nodes:
        if node.op == "output" or any(source in timed for source in node.all_input_nodes):
            timed.add(node)
        elif node not in env and node not in timed:
            env[node] = interpreter.run_node(node)


def _lengths(num_steps: int, piece: int) -> Iterator[int]:
    """Lengths of the pieces: whole ones, then the rest in halves, so that few lengths occur.

    Example:
        >>> list(_lengths(15, 4))
        [4, 4, 4, 2, 1]
    """
    while num_steps:
        while piece > num_steps:
            piece = (piece + 1) // 2
        yield piece
        num_steps -= piece
