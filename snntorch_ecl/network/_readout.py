"""The readout: average outputs of any structure over time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._util.precision import wide
from .._util.torch_internals import tree_map
from ..nn._temporal import unfold


def running_sums(total: Any, output: Any, num_steps: int) -> list[Any]:
    """T sums over time ``[B, ...]``: ``total`` and the first 1 … T steps of ``[T·B, ...]``.

    They are added up step by step, so that pieces of any size give the same bits; half precision
    is added up in float32. Values in the output that are not tensors are passed on.

    Example:
        >>> [float(total) for total in running_sums(None, torch.tensor([1.0, 2.0]), 2)]
        [1.0, 3.0]
    """
    sums = []
    for t in range(num_steps):
        step = tree_map(lambda value, t=t: _entry(value, num_steps, t), output)
        total = step if total is None else tree_map(_plus, total, step)
        sums.append(total)
    return sums


def average(total: Any, num_steps: int, output: Any) -> Any:
    """The average of ``num_steps`` steps that add up to ``total``, in the type of ``output``."""

    def mean(value: Any, like: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return (value / num_steps).to(like.dtype if like.is_floating_point() else None)

    return tree_map(mean, total, output)


def over_time(entries: list[Any]) -> Any:
    """Stack outputs ``[B, ...]``, one for each t, to ``[T, B, ...]``."""
    return tree_map(_stacked, *entries)


def concatenated(groups: list[Any], *, dim: int) -> Any:
    """Concatenate the outputs of groups of images along ``dim``, which counts images."""
    if len(groups) == 1:
        return groups[0]
    return tree_map(lambda *parts: torch.cat(parts, dim), *groups)


def _entry(value: Any, num_steps: int, t: int) -> Any:
    return wide(unfold(value, num_steps)[t]) if isinstance(value, Tensor) else value


def _plus(total: Any, step: Any) -> Any:
    return total + step if isinstance(step, Tensor) else step


def _stacked(first: Any, *others: Any) -> Any:
    return torch.stack([first, *others]) if isinstance(first, Tensor) else first
