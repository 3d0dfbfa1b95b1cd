"""Other spellings: of a rectifier (``maximum(x, 0)``, ``x * (x > 0)``), and of a maximum."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from ._arguments import argument, operands
from ._names import attribute

_MAXIMUM: tuple[Any, ...] = (torch.maximum, torch.max, torch.fmax, "maximum", "max", "fmax")
_MAX: dict[Any, Any] = dict.fromkeys((torch.max, "max"), torch.amax)
_MIN: dict[Any, Any] = dict.fromkeys((torch.min, "min"), torch.amin)
_WHERE: tuple[Any, ...] = (torch.where, "where")
_TIMES: tuple[Any, ...] = (operator.mul, torch.mul, "mul", torch.multiply, "multiply")
_ABOVE: tuple[Any, ...] = (operator.gt, torch.gt, "gt", operator.ge, torch.ge, "ge")
_BELOW: tuple[Any, ...] = (operator.lt, torch.lt, "lt", operator.le, torch.le, "le")


def rectified(gm: GraphModule, node: Node) -> Node | None:
    """The value that a call rectifies; None if it does not."""
    if node.op not in ("call_function", "call_method"):
        return None
    if node.target in _MAXIMUM:
        return _other_than_zero(gm, operands(node))
    if node.target in _TIMES:
        return _times_mask(gm, operands(node))
    if node.target not in _WHERE:
        return None
    # x.where(condition, other), but torch.where(condition, x, other)
    method = node.op == "call_method" and node.target == "where"
    condition = argument(node, 1 if method else 0, "condition")
    value = argument(node, 0 if method else 1, "input", "self")
    other = argument(node, 2, "other")
    if _is_zero(gm, other) and _compared(gm, condition, _ABOVE) is value:
        return _as_node(value)
    below = _is_zero(gm, value) and _compared(gm, condition, _BELOW) is other
    return _as_node(other) if below else None


def maxima_to_amax(gm: GraphModule) -> None:
    """Replace ``x.max(dim)[0]`` and ``x.max(dim).values`` by ``x.amax(dim)``, likewise minima."""
    for node in list(gm.graph.nodes):
        source = node.args[0] if node.args else None
        picks = (node.target is operator.getitem and node.args[1] == 0) or (
            node.target is getattr and node.args[1] == "values"
        )
        if not picks or not isinstance(source, Node):
            continue
        dim, keepdim = argument(source, 1, "dim", "axis"), argument(source, 2, "keepdim")
        function = {**_MAX, **_MIN}.get(source.target)
        if function is None or not isinstance(dim, int):
            continue
        with gm.graph.inserting_before(node):
            made = gm.graph.call_function(function, (source.args[0], dim, bool(keepdim)))
        made.meta = dict(node.meta)
        node.replace_all_uses_with(made)
        gm.graph.erase_node(node)


def _other_than_zero(gm: GraphModule, pair: list[Any]) -> Node | None:
    if len(pair) != 2:
        return None
    left, right = pair
    if _is_zero(gm, right):
        return _as_node(left)
    return _as_node(right) if _is_zero(gm, left) else None


def _times_mask(gm: GraphModule, pair: list[Any]) -> Node | None:
    if len(pair) != 2:
        return None
    for value, mask in (pair, pair[::-1]):
        if isinstance(mask, Node) and mask.target in ("float", "to", "type_as"):
            mask = mask.args[0]
        if _compared(gm, mask, _ABOVE) is value is not None:
            return _as_node(value)
    return None


def _compared(gm: GraphModule, condition: Any, how: tuple[Any, ...]) -> Any:
    """What a condition compares with 0; None if it does something else."""
    if not isinstance(condition, Node) or condition.target not in how:
        return None
    value, bound = operands(condition)[:2]
    return value if _is_zero(gm, bound) else None


def _as_node(value: Any) -> Node | None:
    return value if isinstance(value, Node) else None


def _is_zero(gm: GraphModule, value: Any) -> bool:
    """Whether a value is 0, or a tensor of zeros that is no parameter and adds no dimension."""
    if not isinstance(value, Node):
        return not isinstance(value, bool) and isinstance(value, (int, float)) and value == 0
    if value.target in (torch.zeros_like, "new_zeros"):
        return True
    tensor = attribute(gm, value)
    if not isinstance(tensor, Tensor) or isinstance(tensor, nn.Parameter):
        return False
    return tensor.numel() == 1 and tensor.ndim <= 1 and not bool(tensor.any())
