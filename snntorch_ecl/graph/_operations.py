"""Which functional operations a converted network may hold: affine ones that keep dimension 0.

A converted network runs on time-major batches ``[T·B, ...]`` and averages over time, so whatever
is not a neuron must (1) be affine in the activations and (2) leave dimension 0 alone. A rule is
called with a node and returns None, or the reason why the node breaks (1) or (2). Operations
without a rule are refused.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from torch.fx import Node

from ._values import _name, is_size


def objection(node: Node, live: set[Node]) -> str | None:
    """Why a functional call cannot run in a converted network; None if it can.

    Args:
        node: A ``call_function`` or ``call_method`` node.
        live: What :func:`activations` found.
    """
    if node not in live:
        return None
    rule = _RULES.get(node.target if isinstance(node.target, str) else _name(node.target))
    if rule is None:
        return "it is not known to be affine in the activations"
    if rule in (_fine, _one_activation, _dividend_only) and any(
        _counts_batch(source) for source in node.all_input_nodes if is_size(source)
    ):
        return "it computes with the size of dimension 0, which holds time and batch"
    return rule(node, live)


def _counts_batch(size: Node) -> bool:
    """Whether a size is, or may be, that of dimension 0."""
    if size.op == "call_method":
        return bool(
            size.target == "numel" or (size.target == "size" and size.args[1:] in ((), (0,)))
        )
    if size.target is getattr:
        return bool(size.args[1] == "shape")
    if size.target is operator.getitem and isinstance(size.args[1], (int, slice)):
        whole, index = size.args
        first = index.start if isinstance(index, slice) else index
        return first in (None, 0) or (isinstance(whole, Node) and not _is_shape(whole))
    return any(_counts_batch(source) for source in size.all_input_nodes)


def _is_shape(node: Node) -> bool:
    attribute = node.target is getattr and bool(node.args[1] == "shape")
    return attribute or (node.op == "call_method" and node.target == "size")


Rule = Callable[[Node, set[Node]], "str | None"]


def _fine(node: Node, live: set[Node]) -> None:
    return None


def _one_activation(node: Node, live: set[Node]) -> str | None:
    # Not `all_input_nodes`, which would count x · x once.
    if sum(isinstance(a, Node) and a in live for a in (*node.args, *node.kwargs.values())) > 1:
        return "a product of activations is not affine"
    return None


def _dividend_only(node: Node, live: set[Node]) -> str | None:
    divisor = node.args[1] if len(node.args) > 1 else node.kwargs.get("other")
    if isinstance(divisor, Node) and divisor in live:
        return "dividing by activations is not affine"
    if node.kwargs.get("rounding_mode") is not None:
        return "a rounded division is not affine"
    return None


_MIXES = "it mixes or moves dimension 0, which holds time and batch"


def _dims(node: Node, position: int, names: tuple[str, ...], default: Any) -> list[Any] | None:
    """The dimension argument(s) of a call, as a list; None if it means "all"."""
    value = node.args[position] if len(node.args) > position else default
    for name in names:
        value = node.kwargs.get(name, value)
    if value is None:
        return None
    if isinstance(value, (tuple, list)):
        return list(value)
    return [value, *(more for more in node.args[position + 1 :] if isinstance(more, int))]


def _off_batch(position: int, default: Any = None) -> Rule:
    """Rule: the dimension argument is given and is not 0."""

    def rule(node: Node, live: set[Node]) -> str | None:
        dims = _dims(node, position, ("dim", "dims", "start_dim"), default)
        return _MIXES if dims is None or 0 in dims else None

    return rule


def _permute(node: Node, live: set[Node]) -> str | None:
    order = _dims(node, 1, ("dims",), None) or []
    order = order if len(node.args) <= 2 else list(node.args[1:])
    return None if order and order[0] == 0 else _MIXES


def _transpose(node: Node, live: set[Node]) -> str | None:
    dims = [*node.args[1:], *node.kwargs.values()]
    return _MIXES if 0 in dims else None


def _reshape(node: Node, live: set[Node]) -> str | None:
    shape = node.args[1:] if len(node.args) > 1 else [node.kwargs.get("shape")]
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    if len(shape) == 1 and isinstance(shape[0], Node) and is_size(shape[0]):
        return None
    if len(shape) < 2:
        return _MIXES
    if isinstance(shape[0], int) and shape[0] != -1:
        return f"it fixes the batch size at {shape[0]}; use -1 or x.shape[0]"
    return None


def _flatten(node: Node, live: set[Node]) -> str | None:
    start = _dims(node, 1, ("start_dim",), 0)
    return _MIXES if start == [0] else None


def _index(node: Node, live: set[Node]) -> str | None:
    source, index = node.args[0], node.args[1]
    if isinstance(source, Node) and _gives_tuple(source):
        return None
    first = index[0] if isinstance(index, tuple) and index else index
    whole = isinstance(first, slice) and (first.start, first.stop, first.step) in {
        (None, None, None),
        (0, None, None),
    }
    if isinstance(index, tuple) and any(isinstance(i, Node) for i in index):
        return "indexing with tensors is not supported"
    return None if whole or first is Ellipsis else _MIXES


def _gives_tuple(node: Node) -> bool:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return node.op != "placeholder" and name in {"chunk", "split", "tensor_split", "unbind"}


_RULES: dict[str, Rule] = {
    **dict.fromkeys(("add", "sub", "rsub", "neg", "pos"), _fine),
    **dict.fromkeys(("contiguous", "clone", "to", "float"), _fine),
    **dict.fromkeys(("pad", "interpolate"), _fine),
    **dict.fromkeys(("mul", "matmul", "linear", "conv1d", "conv2d", "conv3d"), _one_activation),
    **dict.fromkeys(("div", "truediv", "true_divide"), _dividend_only),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), _off_batch(1, 0)),
    **dict.fromkeys(("mean", "sum"), _off_batch(1)),
    **dict.fromkeys(("squeeze", "unsqueeze", "flip"), _off_batch(1)),
    "chunk": _off_batch(2, 0),
    "roll": _off_batch(2),
    "split": _off_batch(2, 0),
    "tensor_split": _off_batch(2, 0),
    "unbind": _off_batch(1, 0),
    "flatten": _flatten,
    "permute": _permute,
    **dict.fromkeys(("transpose", "swapaxes"), _transpose),
    **dict.fromkeys(("view", "reshape"), _reshape),
    "getitem": _index,
    **dict.fromkeys(
        (
            *(f"avg_pool{d}d" for d in (1, 2, 3)),
            *(f"adaptive_avg_pool{d}d" for d in (1, 2, 3)),
            *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
        ),
        _fine,
    ),
}  # fmt: skip

# These move values, or do nothing, at inference.
_FREE = {
    "view", "reshape", "flatten", "unflatten", "permute", "transpose", "swapaxes", "squeeze",
    "unsqueeze", "expand", "contiguous", "chunk", "split", "tensor_split", "unbind", "getitem",
    "cat", "concat", "concatenate", "stack", "to", "float", "clone", "pad", "flip", "roll",
    "getattr",
}  # fmt: skip


def moves_values(node: Node) -> bool:
    """Whether a functional call computes nothing."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name in _FREE
