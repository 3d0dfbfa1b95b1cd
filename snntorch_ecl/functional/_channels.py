"""Thresholds of channels, which are dimension 1."""

from __future__ import annotations

from torch import Tensor

from .._util.checks import at
from ..errors import InputError


def over_channels(threshold: Tensor, x: Tensor, name: str = "") -> Tensor:
    """View a threshold ``[]`` or ``[C]`` so that it broadcasts along dimension 1 of ``x``."""
    if threshold.ndim == 0:
        return threshold
    if threshold.numel() == 1:
        return threshold.reshape(())
    if x.ndim < 2 or x.shape[1] != threshold.numel():
        raise InputError(
            f"{at(name)}{threshold.numel()} thresholds, one per channel, do not fit shape "
            f"{list(x.shape)}: dimension 1 must have {threshold.numel()} channels"
        )
    return threshold.view(-1, *[1] * (x.ndim - 2))


def as_text(threshold: Tensor) -> str:
    """A threshold ``[]``, or the smallest and the largest of ``[C]``, for ``print(network)``."""
    if threshold.ndim == 0:
        return f"{threshold.item():.4g}"
    return f"[{threshold.min():.4g} … {threshold.max():.4g}]"
