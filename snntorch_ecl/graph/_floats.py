"""How many floating-point operations a function needs that a ``Difference`` carries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from ._carry import Call
from ._registry import kind_of

Shape = tuple[int, ...]


def floats_of(function: Any, shapes: Sequence[Shape], values: int) -> float:
    """The operations of one call that reads tensors of these shapes and returns so many values.

    One for each addition, multiplication, division, comparison and elementary function; the table
    says how many for each value. A product of matrices multiplies and adds.

    Example:
        >>> floats_of(nn.SiLU(), [(2, 8)], 16)
        80.0
    """
    if isinstance(function, nn.Module):
        return float(kind_of(function).floats * values)
    if not isinstance(function, Call):
        return float(values)
    count = _PRODUCTS.get(function.name)
    return count(function, shapes, values) if count else float(function.floats * values)


def _matrices(call: Call, shapes: Sequence[Shape], values: int) -> float:
    return 2.0 * shapes[0][-1] * values


def _attention(call: Call, shapes: Sequence[Shape], values: int) -> float:
    queries, keys = shapes[0], shapes[1] if len(shapes) > 1 else shapes[0]
    scores = math.prod(queries[:-1]) * keys[-2]
    return 2.0 * scores * queries[-1] + call.floats * scores + 2.0 * keys[-2] * values


def _einsum(call: Call, shapes: Sequence[Shape], values: int) -> float:
    letters = str(call.equation).split("->")[0].replace(" ", "").split(",")
    sizes: dict[str, int] = {}
    for word, shape in zip(letters, shapes, strict=False):
        sizes.update(zip(word, shape, strict=False))
    return 2.0 * math.prod(sizes.values())


_PRODUCTS: dict[str, Callable[[Call, Sequence[Shape], int], float]] = {
    "matmul": _matrices,
    "bmm": _matrices,
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
}
