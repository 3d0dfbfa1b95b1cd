"""Thresholds from the quantiles of a batch's activations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .._util.checks import SMALLEST_THRESHOLD
from ..errors import InputError

# λ starts at a value that one positive activation in a thousand exceeds.
_STARTING_QUANTILE = 0.999

# While a network finds its scale, λ is raised where more than a quarter of the positive activations
# exceed it: a layer that is clipped everywhere passes no gradient, and could not come back.
_MOST_CLIPPED = 0.25
_ENOUGH = 2**14  # activations of a row that are looked at while λ follows


def positive_quantiles(rows: Tensor, *shares: float) -> list[Tensor]:
    """Quantiles of the positive values in each row; 0 where there are none."""
    # By sorting: torch.quantile refuses more than 16 million elements.
    zeros = (rows <= 0).sum(1)
    positives = rows.shape[1] - zeros
    ordered = rows.sort(1).values
    ranks = [zeros + (positives * share).ceil().long() for share in shares]
    return [ordered.gather(1, (rank - 1).clamp_min(0)[:, None]).squeeze(1) for rank in ranks]


def starting_threshold(activations: Tensor, per_channel: bool, where: str) -> Tensor | None:
    """λ from the first batch, ``[]`` or ``[C]``; None where no activation is positive."""
    if not bool(activations.isfinite().all()):
        raise InputError(
            f"{where}the batch that should set this clip's threshold "
            f"leads to NaN or infinite activations, shape {list(activations.shape)}; check the "
            "data and the layers before it"
        )
    (whole,) = positive_quantiles(activations.reshape(1, -1), _STARTING_QUANTILE)
    if whole < SMALLEST_THRESHOLD:
        return None
    if not per_channel:
        return whole.squeeze(0)
    if activations.ndim < 2:
        raise InputError(
            f"{where}per-channel thresholds need input [B, C, ...], not {list(activations.shape)}"
        )
    rows = activations.transpose(0, 1).flatten(1)
    (channels,) = positive_quantiles(rows, _STARTING_QUANTILE)
    # A channel without positive activations in this batch starts at the layer's λ.
    return torch.where(channels >= SMALLEST_THRESHOLD, channels, whole)


def raised_threshold(
    magnitudes: Callable[[Tensor], Tensor], x: Tensor, threshold: Tensor
) -> Tensor:
    """λ, raised where a batch of pre-activations would be clipped too much."""
    rows = x.reshape(1, -1) if threshold.numel() == 1 else x.transpose(0, 1).flatten(1)
    rows = magnitudes(rows[:, :: -(-rows.shape[1] // _ENOUGH) or 1])
    quantiles = positive_quantiles(rows, 1 - _MOST_CLIPPED, _STARTING_QUANTILE)
    many, most = (quantile.reshape(threshold.shape) for quantile in quantiles)
    return torch.where((many > threshold) & most.isfinite(), most, threshold)
