"""Rules for functional operations: which are affine, and along which dimensions they work.

A rule takes a node and the activations of its graph. A :data:`Rule` returns None, or the reason
why the node is not affine. A :data:`Reach` returns the dimensions that the node works along, as
they are written; None means all of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from torch.fx import Node

from ._arguments import argument, beyond_input, first_size, flat, operands, sizes_read
from ._checks import MIXES, NEEDS_SHAPES
from ._names import function_name
from ._shapes import sizes_of

Rule = Callable[[Node, set[Node]], "str | None"]
Dims = tuple[Any, ...]
Reach = Callable[[Node, set[Node]], "Dims | None"]


class NotAffine(str):
    """A reason that counts only behind a neuron: what stands before sees a constant."""

    __slots__ = ()


class NotCarried(NotAffine):
    """The same, of what a ``Difference`` cannot carry either."""

    __slots__ = ()


# -------------------------------------------------------------------------- affine or not


def always(node: Node, live: set[Node]) -> None:
    """Always affine."""


def never(node: Node, live: set[Node]) -> str:
    """Never affine."""
    return NotAffine("it is not affine in the activations")


def one_activation(node: Node, live: set[Node]) -> str | None:
    """A product: affine if only one factor is an activation."""
    # Not `all_input_nodes`, which would count x · x once.
    if sum(isinstance(a, Node) and a in live for a in operands(node)) > 1:
        return NotAffine("a product of activations is not affine")
    return None


def weighted(node: Node, live: set[Node]) -> str | None:
    """A layer's function: affine in its input, but weights must not be activations."""
    weights = [a for a in beyond_input(node) if isinstance(a, Node) and a in live]
    return f"its weights are activations: {MIXES}" if weights else None


def dividend_only(node: Node, live: set[Node]) -> str | None:
    """A quotient: affine if only the dividend is an activation."""
    if node.kwargs.get("rounding_mode") is not None:
        return NotCarried("a rounded division is not affine")
    divisor = argument(node, 1, "other", "x2")
    if isinstance(divisor, Node) and divisor in live:
        return NotAffine("dividing by activations is not affine")
    return None


def chosen_by_constants(node: Node, live: set[Node]) -> str | None:
    """A choice between two values: affine if the same is chosen for every input."""
    method = node.op == "call_method" or function_name(node) == "masked_fill"
    condition = argument(node, 1 if method else 0, "condition", "mask")
    return "activations decide what it chooses" if condition in live else None


def in_one_dimension(node: Node, live: set[Node]) -> str | None:
    """Repeated values: without a dimension, those of all images are strung together."""
    return MIXES if argument(node, 2, "dim") is None else None


def running_statistics(node: Node, live: set[Node]) -> str | None:
    """A functional batch norm: affine if it uses stored statistics."""
    if argument(node, 5, "training", default=False) is not False:
        return "it normalises by the running batch; trace it in eval mode (model.eval())"
    return weighted(node, live)


def both(*rules: Rule) -> Rule:
    """Several rules; the first reason counts."""
    return lambda node, live: next((why for r in rules if (why := r(node, live))), None)


def shapes_known(node: Node, live: set[Node]) -> str | None:
    """What it does to dimension 0 is known only with an example."""
    return None if sizes_of(node) is not None else NEEDS_SHAPES


def stays_first(node: Node, live: set[Node]) -> str | None:
    """An expansion: without an example, −1 must stand first, so that no dimension is added."""
    if sizes_of(node) is not None:
        return None
    sizes = beyond_input(node)
    if any(_is_batch_size(size, live) for size in sizes[1:]):
        return MIXES
    return None if sizes and sizes[0] == -1 else NEEDS_SHAPES


def keeps_batch_size(node: Node, live: set[Node]) -> str | None:
    """A new shape: it must begin with the batch's size, or with −1, if shapes are not known."""
    if sizes_of(node) is not None:
        return None
    shape = node.args[1:] if len(node.args) > 1 else (node.kwargs.get("shape"),)
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    first = first_size(shape)
    if any(_is_batch_size(size, live) for size in shape[1:]):
        return MIXES
    if isinstance(first, Node):
        sizes = list(sizes_read(first))
        return None if any(t in live and dim in (None, 0) for t, dim in sizes) else MIXES
    if len(shape) < 2 and not isinstance(shape[0], Node):
        return MIXES
    if isinstance(first, int) and first != -1:
        return f"it fixes the batch size at {first}; use -1 or x.shape[0]"
    return None


def _is_batch_size(size: Any, live: set[Node]) -> bool:
    """Whether a number is ``x.shape[0]`` or ``x.size(0)`` itself, not computed from it."""
    direct = isinstance(size, Node) and size.target in (operator.getitem, "size")
    return direct and any(t in live and dim == 0 for t, dim in sizes_read(size))


def plain_indices(node: Node, live: set[Node]) -> str | None:
    """Slices, numbers and lists, but no tensors; separated lists would move dimensions in front."""
    index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    if is_part(node) or isinstance(node.args[1], Node):
        return None
    if sizes_of(node) is not None:
        live_index = any(isinstance(i, Node) and i in live for i in index)
        return "indexing with activations is not affine" if live_index else None
    if any(isinstance(i, Node) for i in index):
        return "indexing with tensors is not supported"
    lists = [place for place, i in enumerate(index) if isinstance(i, (list, bool))]
    between = index[lists[0] : lists[-1]] if lists else ()
    return MIXES if any(isinstance(i, slice) or i in (None, ...) for i in between) else None


# ------------------------------------------------------------------------------ dimensions


def nowhere(node: Node, live: set[Node]) -> Dims:
    """It works value by value, or only along dimensions behind the batch."""
    return ()


def along(position: int, *names: str, default: Any = None) -> Reach:
    """Along the dimensions in one argument; without it, along all."""

    def reach(node: Node, live: set[Node]) -> Dims | None:
        dims = argument(node, position, *names, "axis", default=default)
        return None if dims is None else tuple(flat(dims)) or None

    return reach


def along_each(node: Node, live: set[Node]) -> Dims | None:
    """Along every dimension in the arguments; without any, along all."""
    return beyond_input(node) or None


def last(count: int) -> Reach:
    """Along the last ``count`` dimensions."""
    return lambda node, live: (-count,)


def normalised(node: Node, live: set[Node]) -> Dims | None:
    """The last dimensions, as many as a norm's shape has."""
    shape = argument(node, 1, "normalized_shape")
    return (-len(shape),) if isinstance(shape, (tuple, list)) else None


def ordered(node: Node, live: set[Node]) -> Dims | None:
    """A new order of all dimensions: the first must stay first."""
    order = beyond_input(node)
    stays = bool(order) and isinstance(order[0], int) and order[0] in (0, -len(order))
    return () if stays else None


def multiplied(node: Node, live: set[Node]) -> Dims:
    """A matrix product: along the left operand's last dimension, the right one's second to last."""
    left = argument(node, 0, "input", "a", "x1")
    return (-1,) if left in live else (-2,)


def repeated(node: Node, live: set[Node]) -> Dims:
    """The dimensions of which there are several copies; they count from the end."""
    factors = beyond_input(node)
    return tuple(place - len(factors) for place, factor in enumerate(factors) if factor != 1)


def unfolded(node: Node, live: set[Node]) -> Dims | None:
    """Windows along one dimension: ``x.unfold(dim, size, step)``, but not ``F.unfold``."""
    dim = argument(node, 1, "dimension")
    return () if node.op != "call_method" else None if dim is None else (dim,)


def padded(node: Node, live: set[Node]) -> Dims | None:
    """Along the dimensions that are padded; each pair of numbers pads one, from the last on."""
    pad = argument(node, 1, "pad")
    return padded_dims(tuple(pad)) if isinstance(pad, (tuple, list)) else None


def padded_dims(pad: tuple[Any, ...]) -> Dims:
    """The dimensions whose padding is not 0."""
    pairs = [pad[start : start + 2] for start in range(0, len(pad), 2)]
    return tuple(-1 - place for place, pair in enumerate(pairs) if any(p != 0 for p in pair))


def indexed(node: Node, live: set[Node]) -> Dims | None:
    """The dimensions of which an index takes a part; behind ``...`` they count from the end."""
    if is_part(node):
        return ()
    index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    if not index or index[0] is not Ellipsis:
        # A first ``:`` leaves dimension 0 whole; the rest of the index is behind it.
        return () if index and _whole(index[0]) else None
    dims, behind = [], 0
    for i in reversed(index[1:]):
        behind += i is not None
        if behind and not _whole(i):
            dims.append(-behind)
    return tuple(dims)


def _whole(index: Any) -> bool:
    """Whether an index is ``:``."""
    return isinstance(index, slice) and (index.start, index.stop, index.step) in (
        (None, None, None),
        (0, None, None),
    )


_PARTS = {"chunk", "split", "tensor_split", "unbind"}


def is_part(node: Node) -> bool:
    """Whether a node picks one or some of the parts that a tensor was split into."""
    source = node.args[0]
    if isinstance(source, Node) and source.meta.get("parts"):
        return True
    if not isinstance(source, Node) or source.op not in ("call_function", "call_method"):
        return False
    name = function_name(source)
    some = name == "getitem" and isinstance(source.args[1], slice) and is_part(source)
    return name in _PARTS or some
