"""Quantiles of activations."""

from __future__ import annotations

from torch import Tensor


def positive_quantiles(rows: Tensor, *shares: float) -> list[Tensor]:
    """Quantiles of the positive values in each row; 0 where there are none."""
    # By sorting: torch.quantile refuses more than 16 million elements.
    zeros = (rows <= 0).sum(1)
    positives = rows.shape[1] - zeros
    ordered = rows.sort(1).values
    ranks = [zeros + (positives * share).ceil().long() for share in shares]
    return [ordered.gather(1, (rank - 1).clamp_min(0)[:, None]).squeeze(1) for rank in ranks]
