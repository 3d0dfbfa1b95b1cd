"""Long runs in pieces of a few steps, with the state carried over.

All T steps at once would need T times the memory of one, and on a CPU more time as well: buffers
too large for the allocator to keep are handed back to the system and fetched anew, page by page.
Pieces whose largest tensor fits avoid both; spikes are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.nn.modules import module as torch_module
from torch.utils._pytree import tree_leaves

from .temporal import Temporal

__all__ = ["bytes_per_image", "may_be_cut", "run", "steps_that_fit"]

_MIB = 2**20
# Half of glibc's largest threshold, from which on every buffer is fetched from the system.
_ROOM_ON_CPU = 16 * _MIB
# Other allocators keep what they have; there the room bounds memory and nothing else.
_ROOM = 256 * _MIB


def may_be_cut(net: GraphModule) -> bool:
    """Whether nothing but the result would tell a run in pieces from a whole one.

    Forward hooks see all steps of a layer at once, and batch norms that train see all its rows.
    """
    if net.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        return False
    return not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def steps_that_fit(per_image: int, images: int, device: torch.device) -> int:
    """How many steps a piece may have for its largest tensor to fit: a power of two.

    Args:
        per_image: Bytes of the largest tensor for one image and step.
        images: B.
        device: Where the network runs.

    Returns:
        At least 1. Powers of two, so that a compiled time loop is compiled for few lengths.

    Example:
        >>> steps_that_fit(2**18, 32, torch.device("cpu"))  # 8 MiB a step
        2
    """
    room = _ROOM_ON_CPU if device.type == "cpu" else _ROOM
    return 1 << max(0, (room // max(1, per_image * images)).bit_length() - 1)


def bytes_per_image(net: GraphModule, inputs: tuple[Tensor, ...]) -> int:
    """Bytes of the largest tensor for one image and step: those of a step with one image.

    Args:
        net: A graph with time inserted; its state is used.
        inputs: ``[B, ...]``.

    Returns:
        The bytes.
    """
    for layer in net.modules():
        if isinstance(layer, Temporal):
            layer.begin()
    meter = _Meter(net)
    meter.run(*(x[:1] for x in inputs), 1, 1)
    return meter.largest


class _Meter(Interpreter):
    """Runs a graph and notes the bytes of its largest tensor."""

    largest = 1

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        sizes = [v.numel() * v.element_size() for v in tree_leaves(value) if isinstance(v, Tensor)]
        self.largest = max(self.largest, *sizes, 0)
        return value


def run(
    net: GraphModule, inputs: tuple[Tensor, ...], num_steps: int, *, held: bool, piece: int
) -> Iterator[tuple[int, Any]]:
    """Run T steps in pieces, going on from the present state.

    Args:
        net: A graph with time inserted.
        inputs: ``[B, ...]`` if they are held, else ``[T·B, ...]``.
        num_steps: T.
        held: Whether the inputs are the same at every step; what depends on them alone is then
            computed once for all pieces.
        piece: Steps in a piece; the last ones may be shorter.

    Yields:
        The number of steps of a piece, and its outputs ``[steps·B, ...]``.
    """
    interpreter = Interpreter(net)
    *inputs_, steps_, held_ = (n for n in net.graph.nodes if n.op == "placeholder")
    env: dict[Node, Any] = {}
    if held:
        env = dict(zip(inputs_, inputs, strict=True))
        _run_stem(interpreter, env, {steps_, held_})
    rows = len(inputs[0]) // num_steps
    start = 0
    for steps in _lengths(num_steps, piece):
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
