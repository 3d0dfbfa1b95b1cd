"""Count activations in bounded memory, to choose thresholds from all of them.

Bins are fixed in advance and have about equal width on a logarithmic scale. So counts do not
depend on the order of the batches, and can be added up over processes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import functional as F
from .._util.processes import largest, summed

# The upper bits of a float are its exponent and the start of its mantissa. Shifted right, they are
# the number of a bin, 64 to an octave, each 1/64 of the octave's start wide.
_MANTISSA_BITS = 6
_SHIFT = 23 - _MANTISSA_BITS
_LOWEST, _HIGHEST = -20, 20  # octaves; what lies beyond is counted in the outermost bins
_FIRST = (127 + _LOWEST) << _MANTISSA_BITS
_BINS = (_HIGHEST - _LOWEST) << _MANTISSA_BITS

# Number of thresholds to try, from a smallest share of the largest activation, and then around the
# best.
_COARSE, _FINE, _SMALLEST_SHARE = 64, 16, 0.02


class Histogram:
    """Counts of one layer's positive activations: a row of bins for each channel, or one row.

    Example:
        >>> histogram = Histogram(1)
        >>> histogram.add(torch.arange(1.0, 1001.0).view(1, -1))
        >>> histogram.maximum.tolist(), round(histogram.quantile(0.5).item(), -1)
        ([1000.0], 500.0)
    """

    def __init__(self, rows: int) -> None:
        self.counts = torch.zeros(rows, _BINS, dtype=torch.int64)
        self.maximum = torch.zeros(rows)

    def add(self, values: Tensor) -> None:
        """Count a batch of values ``[rows, N]``, finite and ≥ 0; zeros are not counted."""
        values = values.detach().float()
        rows = torch.arange(len(values), device=values.device).unsqueeze(1).expand_as(values)
        bits = values.contiguous().view(torch.int32) >> _SHIFT
        bins = (bits - _FIRST).clamp_(0, _BINS - 1).long() + rows * _BINS
        counted = torch.bincount(bins[values > 0], minlength=self.counts.numel())
        self.counts += counted.view_as(self.counts).cpu()
        self.maximum = torch.maximum(self.maximum, values.amax(1).cpu())

    def gather(self) -> None:
        """Add what the other processes have counted."""
        self.counts = summed(self.counts)
        self.maximum = largest(self.maximum)

    @property
    def centres(self) -> Tensor:
        """The middle of each bin, ``[bins]``."""
        edges = (torch.arange(_BINS + 1, dtype=torch.int32) + _FIRST) << _SHIFT
        values = edges.view(torch.float32).double()
        return (values[1:] + values[:-1]) / 2

    def quantile(self, share: float) -> Tensor:
        """The quantile at a share in (0, 1] of each row's positive activations, ``[rows]``.

        It is within 1 % of the exact one, and 0 where nothing was counted.
        """
        total = self.counts.sum(1, keepdim=True)
        reached = self.counts.cumsum(1) >= (total * share).ceil().clamp_min(1)
        values = self.centres[reached.int().argmax(1)].float()
        return torch.where(total.squeeze(1) > 0, values.minimum(self.maximum), 0.0)

    def least_error(self, levels: int) -> Tensor:
        """The λ whose L levels are closest to the activations in mean square; 0 without any."""
        shares = torch.logspace(0, 1, _COARSE, base=_SMALLEST_SHARE, dtype=torch.float64)
        best = self._best(shares.expand(len(self.maximum), -1), levels)
        step = float(shares[0] / shares[1])
        around = torch.logspace(-1, 1, _FINE + 1, base=step, dtype=torch.float64)
        best = self._best((best.unsqueeze(1) * around).clamp_max(1.0), levels)
        return (best * self.maximum).float()

    def _best(self, shares: Tensor, levels: int) -> Tensor:
        """The share of the maximum, of ``[rows, tries]``, with the least squared error."""
        used = self.counts.sum(0).nonzero().squeeze(1)
        counts, centres = self.counts[:, used].double(), self.centres[used]
        errors = []
        for share in shares.unbind(1):
            # Rows without counts have the maximum 0; any positive threshold will do for them.
            threshold = (share * self.maximum).clamp_min(torch.finfo(torch.float32).tiny)
            levelled = F.threshold_clip(
                centres.expand_as(counts), threshold.unsqueeze(1), levels=levels
            )
            errors.append((counts * (centres - levelled).square()).sum(1))
        best = torch.stack(errors, 1).argmin(1, keepdim=True)
        return shares.gather(1, best).squeeze(1)
