"""Overwritten parts: ``x[:, 1:] = y`` and ``x[:, 1:].zero_()`` as functions of what they read."""

from __future__ import annotations

import operator
from typing import Any

from torch import Tensor
from torch.fx import Node

from ._arguments import argument
from ._checks import MIXES
from ._followed import indexed_dims
from ._rules import is_part, shapes_known
from ._shapes import batch_dims, sizes_of
from ._values import is_size

# Each overwrites its whole input: with its argument, or with 0.
_FILLS: dict[Any, Any] = {"zero_": 0, "fill_": None, "copy_": None}


def with_part(whole: Tensor, index: Any, value: Any) -> Tensor:
    """A copy of a tensor in which a part has other values."""
    made = whole.clone()
    made[index] = value
    return made


def write_to_function(node: Node) -> bool:
    """Make a call that overwrites a part, or fills a tensor, a :func:`with_part`."""
    if node.op == "call_function" and node.target is operator.setitem:
        node.target = with_part
        return True
    if node.op != "call_method" or node.target not in _FILLS:
        return False
    constant = _FILLS[node.target]
    value = node.args[1] if constant is None else constant
    node.op, node.target = "call_function", with_part
    args: Any = (node.args[0], Ellipsis, value)
    node.args, node.kwargs = args, {}
    return True


def whole_of(part: Node) -> Node | None:
    """The tensor of which a value is a part that shares its memory; None if it is none.

    An index with lists or tensors takes a copy.
    """
    if part.target is not operator.getitem or is_part(part):
        return None
    source: Any = part.args[0]
    index: Any = part.args[1]
    entries = index if isinstance(index, tuple) else (index,)
    basic = all(
        entry is None or entry is Ellipsis or isinstance(entry, (int, slice))
        if not isinstance(entry, Node)
        else is_size(entry)
        for entry in entries
    )
    return source if basic and isinstance(source, Node) and not is_size(source) else None


def parts_in_place(node: Node, live: set[Node]) -> str | None:
    """A rule: the part must be the same in each row. Then rows of the value fit only to theirs."""
    if (why := shapes_known(node, live)) is not None:
        return why
    whole, index = (argument(node, place) for place in range(2))
    assert isinstance(whole, Node)
    sizes = sizes_of(whole)
    if sizes is None or len(found := batch_dims(sizes)) != 1:
        return MIXES
    entries = index if isinstance(index, tuple) else (index,)
    if any(isinstance(entry, Node) and entry in live for entry in entries):
        return "activations decide what it overwrites"
    return MIXES if found[0] in indexed_dims(index, len(sizes)) else None
