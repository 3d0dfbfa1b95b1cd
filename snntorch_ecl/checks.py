"""Checks of settings, shared by everything that takes them. Each raises ``ConfigError``."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import ConfigError

__all__ = ["at", "check_levels", "check_neuron", "check_num_steps", "check_threshold"]


def at(name: str) -> str:
    """How an error begins: with the layer's qualified name, if it has been told one."""
    return f"{name}: " if name else ""


def check_levels(levels: int | None) -> None:
    """Raise :class:`ConfigError` unless ``levels`` is None or an integer ≥ 1."""
    if levels is None:
        return
    if isinstance(levels, bool) or not isinstance(levels, int) or levels < 1:
        raise ConfigError(f"levels must be an integer >= 1, or None to only clip; got {levels!r}")


def check_threshold(threshold: Tensor | float, *, like: Tensor, name: str = "threshold") -> Tensor:
    """A threshold as a tensor of ``like``'s dtype and device; :class:`ConfigError` if not > 0."""
    if not isinstance(threshold, Tensor):
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
            raise ConfigError(f"{name} must be a number or a tensor; got {threshold!r}")
        threshold = torch.tensor(float(threshold))
    # Reading a value back from an accelerator would stall it at every layer of every step.
    readable = threshold.device.type == "cpu" and not torch.compiler.is_compiling()
    if readable and not bool(((threshold > 0) & threshold.isfinite()).all()):
        raise ConfigError(f"{name} must be finite and > 0; got {_worst(threshold)}")
    return threshold.to(device=like.device, dtype=like.dtype)


def check_neuron(negative_threshold: float, initial_membrane: float) -> None:
    """Raise :class:`ConfigError` unless θ′ ≤ 0 and 0 ≤ v(0)/θ ≤ 1."""
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
            f"initial_membrane is in units of θ and must lie in [0, 1]; got {initial_membrane}"
        )


def _worst(threshold: Tensor) -> str:
    """The first value of a threshold that is not allowed, and where it stands."""
    bad = (~((threshold > 0) & threshold.isfinite())).nonzero()
    value = threshold[tuple(bad[0])].item()
    return f"{value:g}" if threshold.ndim == 0 else f"{value:g} at index {bad[0].tolist()}"


def check_num_steps(num_steps: int) -> None:
    """Raise :class:`ConfigError` unless ``num_steps`` is an integer ≥ 1."""
    if isinstance(num_steps, bool) or not isinstance(num_steps, (int, torch.SymInt)):
        raise ConfigError(f"num_steps must be an integer >= 1; got {num_steps!r}")
    if num_steps < 1:
        raise ConfigError(f"num_steps must be >= 1; got {num_steps}")
