"""Read the arguments of a call: by position or by name, numbers or sizes."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

from torch.fx import Node

# Names of the first argument; PyTorch accepts NumPy's names as well.
_INPUT = {"input", "a", "x", "x1", "tensors", "self"}


def argument(node: Node, position: int, *names: str, default: Any = None) -> Any:
    """An argument, passed by position or by one of its names."""
    for name in names:
        if name in node.kwargs:
            return node.kwargs[name]
    return node.args[position] if len(node.args) > position else default


def flat(values: Any) -> Iterator[Any]:
    """The items of nested tuples, lists and slices, one by one."""
    if isinstance(values, slice):
        values = (values.start, values.stop, values.step)
    if isinstance(values, (tuple, list)):
        for value in values:
            yield from flat(value)
    else:
        yield values


def beyond_input(node: Node) -> tuple[Any, ...]:
    """Every argument except the first, which is the operation's input."""
    named = [value for name, value in node.kwargs.items() if name not in _INPUT]
    return tuple(flat([*node.args[1:], *named]))


def operands(node: Node) -> list[Any]:
    """All arguments of a call, with lists and tuples flattened."""
    return list(flat([*node.args, *node.kwargs.values()]))


def first_activation(node: Node, live: set[Node]) -> Node | None:
    """The first activation that a call reads: dimensions given to the call are its dimensions."""
    return next((a for a in operands(node) if isinstance(a, Node) and a in live), None)


def sizes_read(size: Any) -> Iterator[tuple[Node, int | None]]:
    """The values whose sizes a number is computed from, and which dimension's; None: any."""
    if not isinstance(size, Node):
        return
    source = size.args[0] if size.args else None
    if isinstance(source, Node) and (_is_shape(size) or size.target in ("size", "numel")):
        dim = argument(size, 1, "dim") if size.target == "size" else None
        yield source, dim if isinstance(dim, int) else None
    elif size.target is operator.getitem and isinstance(source, Node) and _is_shape(source):
        index = size.args[1]
        strided = isinstance(index, slice) and index.step is not None
        first = index.start if isinstance(index, slice) else index
        tensor = source.args[0]
        assert isinstance(tensor, Node)
        yield tensor, first if isinstance(first, int) and not strided else None
    elif size.target not in ("dim", getattr):
        for source in size.all_input_nodes:
            yield from sizes_read(source)


def _is_shape(node: Node) -> bool:
    """Whether a node is ``x.shape`` or ``x.size()``."""
    if node.target is getattr:
        return bool(node.args[1] == "shape")
    return node.op == "call_method" and node.target == "size" and not (node.args[1:] or node.kwargs)


def first_size(shape: Any) -> Any:
    """The first entry of a shape, which may be a sum of tuples."""
    while True:
        if isinstance(shape, (tuple, list)) and shape:
            shape = shape[0]
        elif isinstance(shape, Node) and shape.target is operator.add and shape.args[0]:
            if not isinstance(shape.args[0], (tuple, list, Node)):
                return shape
            shape = shape.args[0]
        else:
            return shape
