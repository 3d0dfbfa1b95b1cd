"""How many windows of a max-pooling read a value, and how many values a window has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MAXIMA = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip


def windows(pool: nn.Module, shape: torch.Size, output: torch.Size) -> tuple[Tensor, int]:
    """For one image ``[C, ...]``: the windows that read each value; the largest window's size.

    Example:
        >>> ways, size = windows(nn.MaxPool2d(3, 2), torch.Size((1, 5, 5)), torch.Size((1, 2, 2)))
        >>> ways[0, 2].tolist(), size
        ([2.0, 2.0, 4.0, 2.0, 2.0], 9)
    """
    ways, largest = torch.ones(shape), 1
    for dim in range(1, len(shape)):
        spans = _spans(pool, dim - 1, shape[dim], output[dim])
        counts = torch.zeros(shape[dim])
        for span in spans:
            counts[span] += 1
        ways = ways * counts.view(-1, *[1] * (len(shape) - dim - 1))
        largest *= max(map(len, spans))
    return ways, largest


def _spans(pool: nn.Module, dim: int, inside: int, outputs: int) -> list[list[int]]:
    """The places that each window of one dimension reads."""
    if "Adaptive" in type(pool).__name__:
        return [
            list(range(i * inside // outputs, -(-(i + 1) * inside // outputs)))
            for i in range(outputs)
        ]
    size, stride, padding, dilation = (
        _at(getattr(pool, name), dim) for name in ("kernel_size", "stride", "padding", "dilation")
    )
    starts = [i * stride - padding for i in range(outputs)]
    reads = ([start + j * dilation for j in range(size)] for start in starts)
    return [[place for place in span if 0 <= place < inside] for span in reads]


def _at(setting: Any, dim: int) -> int:
    return int(setting[dim] if isinstance(setting, (tuple, list)) else setting)
