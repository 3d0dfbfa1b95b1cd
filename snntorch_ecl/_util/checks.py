"""Checks of settings that many functions share. Most raise ``ConfigError``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError, InputError
from .torch_internals import can_be_read

SMALLEST_THRESHOLD = 1e-6
"""The lower bound of a trained threshold."""


def at(name: str) -> str:
    """The start of an error message: the layer's qualified name, if it is known."""
    return f"{name}: " if name else ""


def check_levels(levels: int | None) -> None:
    """Raise :class:`ConfigError` unless ``levels`` is None or an integer ≥ 1."""
    if levels is None:
        return
    if isinstance(levels, bool) or not isinstance(levels, int) or levels < 1:
        raise ConfigError(f"levels must be an integer >= 1, or None to only clip; got {levels!r}")


def check_threshold(
    threshold: Tensor | float, *, like: Tensor, name: str = "threshold", shape: bool = True
) -> Tensor:
    """A threshold as a tensor of ``like``'s dtype and device.

    :class:`ConfigError` unless it is finite and > 0, in that dtype too; :class:`InputError` unless
    ``like`` is floating-point and, with ``shape``, the threshold broadcasts to it.
    """
    if not like.is_floating_point():
        raise InputError(f"{name} needs floating-point input; got {like.dtype}")
    if not isinstance(threshold, Tensor):
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
            raise ConfigError(f"{name} must be a number or a tensor; got {threshold!r}")
        threshold = torch.tensor(float(threshold), dtype=torch.float64)
    if shape and not _broadcasts(threshold, like):
        raise InputError(
            f"{name} of shape {list(threshold.shape)} does not broadcast to {list(like.shape)}"
        )
    cast = threshold.to(device=like.device, dtype=like.dtype)
    # Reading values back from an accelerator would stall it, at every layer and step.
    readable = threshold.device.type == "cpu" and can_be_read(threshold) and can_be_read(like)
    if readable and not _is_positive(cast):
        raise ConfigError(
            f"{name} must be finite and > 0 in {like.dtype}; got {_worst(threshold, cast)}"
        )
    return cast


def _is_positive(values: Tensor) -> bool:
    """Whether all are finite and > 0; a single one is read much faster than tensors compare."""
    if values.numel() == 1:
        return 0 < float(values.detach()) < math.inf
    return bool(((values > 0) & values.isfinite()).all())


def _broadcasts(threshold: Tensor, like: Tensor) -> bool:
    last = like.shape[max(0, like.ndim - threshold.ndim) :]
    if len(last) != threshold.ndim:
        return False
    return all(own in (1, size) for own, size in zip(threshold.shape, last, strict=True))


def check_neuron(
    negative_threshold: float,
    initial_membrane: float,
    spike_sizes: int = 1,
    count_bounds: tuple[int | None, int | None] = (0, None),
) -> None:
    """Raise :class:`ConfigError` unless θ′ ≤ 0, 0 ≤ v(0) ≤ the smallest spike, and 1 ≤ K ≤ 8.

    The least net count must be None or ≤ 0, the largest None or ≥ 1.
    """
    for name, value in (
        ("negative_threshold", negative_threshold),
        ("initial_membrane", initial_membrane),
    ):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(f"{name} must be a number; got {value!r}")
    if not negative_threshold <= 0:
        raise ConfigError(
            f"negative_threshold must be <= 0 (-inf: plain IF neuron); got {negative_threshold}"
        )
    if not 0 <= initial_membrane <= 1:
        raise ConfigError(
            "initial_membrane is in units of θ (of the smallest spike) and must lie in [0, 1]; "
            f"got {initial_membrane}"
        )
    if isinstance(spike_sizes, bool) or not isinstance(spike_sizes, int):
        raise ConfigError(f"spike_sizes must be an integer from 1 to 8; got {spike_sizes!r}")
    if not 1 <= spike_sizes <= 8:  # beyond θ/128, bfloat16 rounds sums of spikes even below θ
        raise ConfigError(
            f"spike_sizes must be an integer from 1 (spikes of ±θ) to 8; got {spike_sizes}"
        )
    _check_bounds(count_bounds)


def _check_bounds(bounds: Any) -> None:
    pair = bounds if isinstance(bounds, (tuple, list)) and len(bounds) == 2 else (True, True)
    least, most = pair
    whole = all(n is None or (isinstance(n, int) and not isinstance(n, bool)) for n in pair)
    if not whole or not (least is None or least <= 0) or not (most is None or most >= 1):
        raise ConfigError(
            "count_bounds must be the least net spike count, <= 0, and the largest, >= 1, each an "
            f"integer, or None for no bound; got {bounds!r}"
        )


def _worst(threshold: Tensor, cast: Tensor) -> str:
    """The first value of a threshold that is not allowed, and its index."""
    bad = (~((cast > 0) & cast.cpu().isfinite())).nonzero()
    value = threshold[tuple(bad[0])].item()
    return f"{value:g}" if threshold.ndim == 0 else f"{value:g} at index {bad[0].tolist()}"


def check_num_steps(num_steps: int) -> None:
    """Raise :class:`ConfigError` unless ``num_steps`` is an integer ≥ 1."""
    if isinstance(num_steps, bool) or not isinstance(num_steps, (int, torch.SymInt)):
        raise ConfigError(f"num_steps must be an integer >= 1; got {num_steps!r}")
    if num_steps < 1:
        raise ConfigError(f"num_steps must be >= 1; got {num_steps}")


def check_module(model: Any) -> None:
    """Raise :class:`ConfigError` unless a network is given, as where arguments are swapped."""
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model must be an nn.Module; got {type(model).__name__}")


def check_min_steps(min_steps: int, num_steps: int) -> None:
    """Raise :class:`ConfigError` unless 1 ≤ ``min_steps`` ≤ T; 2, the default, goes with any T."""
    check_whole_numbers("min_steps", (min_steps,), lowest=1)
    if min_steps > max(num_steps, 2):
        raise ConfigError(
            f"min_steps={min_steps} is more than T={num_steps}, after which every image stops; "
            "give a smaller min_steps, or a larger T"
        )


def check_seed(name: str, seed: int) -> None:
    """Raise :class:`ConfigError` unless ``seed`` is an integer in [0, 2**63)."""
    check_whole_numbers(name, (seed,), lowest=0)
    if seed >= 2**63:
        raise ConfigError(f"{name} must be less than 2**63; got {seed}")


def check_whole_numbers(name: str, values: Sequence[Any], *, lowest: int) -> None:
    """Raise :class:`ConfigError` unless ``values`` are integers ≥ ``lowest``, at least one."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
            raise ConfigError(f"{name} must be an integer >= {lowest}; got {value!r}")
    if not values:
        raise ConfigError(f"{name} is empty: give at least one integer >= {lowest}")


def check_share(share: float) -> None:
    """Raise :class:`ConfigError` unless a teacher's share lies within [0, 1]."""
    if not (isinstance(share, (int, float)) and 0 <= share <= 1):
        raise ConfigError(f"the share of a teacher must lie in [0, 1]; got {share!r}")
