"""Count activations in bounded memory, to choose thresholds from all of them.

Bins are fixed in advance and have about equal width on a logarithmic scale. So counts do not
depend on the order of the batches, and can be added up over processes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._util.processes import largest, summed
from ._response import Response, response

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
        """Count a batch of values ``[rows, ...]``, finite and ≥ 0; zeros are not counted."""
        values = values.detach().float()
        others = tuple(range(1, values.ndim))
        first = torch.arange(len(values), dtype=torch.int32, device=values.device) * _BINS
        bins = (values.view(torch.int32) >> _SHIFT).sub_(_FIRST).clamp_(0, _BINS - 1)
        bins += first.view(-1, *[1] * len(others))
        counted = torch.bincount(bins.flatten(), minlength=self.counts.numel())
        counted = counted.view_as(self.counts)
        counted[:, 0] -= (values == 0).sum(others)
        self.counts += counted.cpu()
        self.maximum = torch.maximum(self.maximum, values.amax(others).cpu())

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

    def least_error(self, levels: int, spike_sizes: int = 1) -> Tensor:
        """The λ whose L levels are closest to the activations in mean square; 0 without any.

        With K spike sizes these are the levels that L steps give.
        """
        steps = response(levels, spike_sizes)
        shares = torch.logspace(0, 1, _COARSE, base=_SMALLEST_SHARE, dtype=torch.float64)
        best = self._best(shares.expand(len(self.maximum), -1), steps)
        step = float(shares[0] / shares[1])
        around = torch.logspace(-1, 1, _FINE + 1, base=step, dtype=torch.float64)
        best = self._best((best.unsqueeze(1) * around).clamp_max(1.0), steps)
        return (best * self.maximum).float()

    def _best(self, shares: Tensor, steps: Response) -> Tensor:
        """The share of the maximum, of ``[rows, tries]``, with the least squared error.

        Values between two edges have one level. Sums of x and x² up to each bin give the error of
        such a part without a look at its bins.
        """
        used = self.counts.sum(0).nonzero().squeeze(1)
        counts, centres = self.counts[:, used].double(), self.centres[used]
        powers = torch.stack([counts, counts * centres, counts * centres.square()])
        sums = nn.functional.pad(powers.cumsum(2), (1, 0))
        # Rows without counts have the maximum 0; any positive threshold will do for them.
        largest = self.maximum.clamp_min(torch.finfo(torch.float32).tiny).unsqueeze(1)
        errors = []
        for share in shares.unsqueeze(2).unbind(1):
            reached, edges = share * largest * steps.values, share * largest * steps.edges
            cuts = nn.functional.pad(torch.searchsorted(centres, edges), (1, 0))
            cuts = nn.functional.pad(cuts, (0, 1), value=len(used))
            number, first, second = sums.gather(2, cuts.expand(3, *cuts.shape)).diff(dim=2)
            errors.append((second - 2 * reached * first + reached.square() * number).sum(1))
        best = torch.stack(errors, 1).argmin(1, keepdim=True)
        return shares.gather(1, best).squeeze(1)
