"""Runtime checks in the graph, for what tracing cannot tell.

A converted network runs on ``[T·B, ...]``, so no operation may reach dimension 0. Which dimension
``dim=-2`` is depends on how many there are, and the graph does not always tell. Where it does
not, a check runs before the operation. It returns nothing and costs almost nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.fx import Proxy
from torch.fx.node import has_side_effect

from ..errors import InputError, UnsupportedError

MIXES = "it mixes or moves dimension 0, which holds time and batch"
COUNTS = "it computes with the size of dimension 0, which holds time and batch"
ROUNDS = "it turns activations into integers, and rounding is not affine"
ALIGNS = "broadcasting aligns dimension 0, which holds time and batch, with something else"
NEEDS_SHAPES = "where it leaves dimension 0 is known only with an example"
FIXES = "it fixes the batch size"

Check = Callable[..., None]
CHECKS: set[Check] = set()


def _check(function: Check) -> Check:
    """Make a function a check: traced, it is recorded as one call and never removed as unused."""

    @functools.wraps(function)
    def check(value: Any, *args: Any) -> None:
        if isinstance(value, Proxy):
            value.tracer.create_proxy("call_function", check, (value, *args), {})
            return
        function(value, *args)

    has_side_effect(check)
    CHECKS.add(check)
    return check


@_check
def check_dims(value: Any, dims: Any, extra: int, what: str) -> None:
    """Refuse dimension 0 among ``dims``; the result has ``extra`` dimensions more than value."""
    ndim = _first(value).dim()
    for dim in _flat(dims):
        if dim + (ndim + extra if dim < 0 else 0) <= 0:
            raise UnsupportedError(
                [f"{what}: dimension {dim} of a value with {ndim} dimension(s)"],
                "Use dimensions 1 and up: in a spiking network dimension 0 holds time and batch.",
            )


@_check
def check_operand(value: Tensor, other: Any, inner: int, kind: str, where: str) -> None:
    """Refuse an operand whose dimensions do not align with those of a value.

    Its last ``inner`` dimensions are not broadcast. ``kind`` says whether it is an
    ``activation``, ``fixed``, or ``sized`` (computed from sizes, perhaps the batch's).
    """
    if (
        not isinstance(other, Tensor)
        or (why := misaligned(value.dim(), other, inner, kind)) is None
    ):
        return
    raise UnsupportedError(
        [f"{where}: {why}: shapes {list(value.shape)} and {list(other.shape)}"],
        "Give both the same number of dimensions (keepdim=True, unsqueeze), batch first.",
    )


@_check
def check_input(
    value: Tensor, sizes: tuple[int, ...], dtype: torch.dtype, name: str, fixed: bool
) -> None:
    """Refuse an input of another rank than the example's or, if ``fixed``, of other sizes.

    ``sizes`` are those behind the batch's. Together with ``dtype`` they tell what the example was.
    """
    found = tuple(value.shape)
    if len(found) == len(sizes) + 1 and (not fixed or found[1:] == sizes):
        return
    read = ", and its code has read these sizes" if fixed else ""
    raise InputError(
        f"{name} has shape {list(found)}; the network was prepared with an example of shape "
        f"{['B', *sizes]}{read}. Prepare it with an example of the new shape"
    )


@_check
def check_floating(value: Tensor, where: str) -> None:
    """Refuse a value that was turned into integers."""
    if not (value.is_floating_point() or value.is_complex()):
        raise UnsupportedError(
            [f"{where}: {ROUNDS}: {value.dtype}"], "Keep activations in a floating-point dtype."
        )


def misaligned(ndim: int, other: Tensor, inner: int, kind: str) -> str | None:
    """Why an operand does not align with a value of ``ndim`` dimensions; None if it does."""
    if kind == "activation":
        return None if other.dim() == ndim else ALIGNS
    if other.dim() <= inner or other.dim() < ndim:
        return None
    if other.dim() > ndim:
        return ALIGNS
    return FIXES if kind == "fixed" and len(other) != 1 else None


def _first(value: Any) -> Tensor:
    """A tensor, or the first one in nested tuples or lists."""
    while isinstance(value, (tuple, list)):
        value = value[0]
    tensor: Tensor = value
    return tensor


def _flat(dims: Any) -> Iterator[int]:
    if isinstance(dims, Iterable):
        for dim in dims:
            yield from _flat(dim)
    else:
        yield int(dims)
