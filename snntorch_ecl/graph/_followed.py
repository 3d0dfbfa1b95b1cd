"""Where the batch is in each value, and whether its rows stay together, once shapes are known.

Every value has one dimension that counts the batch's rows, or a few for each of them. It need not
be dimension 0: code may move it and move it back.
"""

from __future__ import annotations

import math
from typing import Any

from torch import nn
from torch.fx import Node

from ._checks import ALIGNS, MIXES
from ._shapes import batch_dims, sizes_of
from ._values import is_idle

ELSEWHERE = "the batch must be in dimension 0 here"
_ANYWHERE = (nn.Linear, nn.Flatten, nn.Unflatten)


def lost_batch(node: Node) -> str | None:
    """Why a value has no dimension for the batch, or two; None if it has one, or is no tensor."""
    sizes = sizes_of(node)
    if sizes is None or len(found := batch_dims(sizes)) == 1:
        return None
    return ALIGNS if found else MIXES


def misplaced(node: Node, module: nn.Module, source: Node) -> str | None:
    """Why a layer cannot take a value whose batch is not in dimension 0; None if it can."""
    sizes = sizes_of(source)
    if sizes is None or batch_dims(sizes) == [0]:
        return None
    return None if isinstance(module, _ANYWHERE) or is_idle(module) else ELSEWHERE


def in_front(node: Node) -> str | None:
    """Why a value cannot be summed up over time; None if its batch is in dimension 0."""
    sizes = sizes_of(node)
    return None if sizes is None or batch_dims(sizes) == [0] else ELSEWHERE


def torn_rows(node: Node, source: Node) -> str | None:
    """Why a new shape does not keep rows together; None if it does.

    Values lie in memory in the order of the dimensions. So the batch's rows stay apart if as many
    values come before the batch's dimension as before.
    """
    old, new = sizes_of(source), sizes_of(node)
    if old is None or new is None:
        return None
    (before,), (after,) = batch_dims(old), batch_dims(new)
    return None if math.prod(old[:before]) == math.prod(new[:after]) else MIXES


def indexed_dims(index: Any, ndim: int) -> tuple[int, ...]:
    """The dimensions of which an index takes a part.

    Example:
        >>> indexed_dims((slice(None), None, 0, ..., slice(1, None)), 4)
        (1, 3)
    """
    entries = list(index) if isinstance(index, tuple) else [index]
    taken = sum(entry is not None and entry is not Ellipsis for entry in entries)
    if Ellipsis not in entries:
        entries.append(Ellipsis)
    dims, place = [], 0
    for entry in entries:
        if entry is Ellipsis:
            place += ndim - taken
        elif entry is not None:
            if not (isinstance(entry, slice) and entry in (slice(None), slice(0, None))):
                dims.append(place)
            place += 1
    return tuple(dims)
