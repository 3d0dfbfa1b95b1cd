"""When a neuron spikes: its sizes of spikes, the edges of its membrane, the bounds of its count."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .._util.torch_internals import is_compiling

_is_tracing: Callable[[], bool] = torch.jit.is_tracing  # type: ignore[attr-defined]


class SpikeSize(NamedTuple):
    """One of the sizes that a spike can have, in units of θ unless said otherwise.

    Attributes:
        edge: From this membrane on, a spike of at least this size is fired.
        gain: How much larger it is than the next smaller one, or than no spike.
        units: ``gain`` in units of the smallest size.
        least: The size itself in units of the smallest: the net sum that it needs to be taken back.
    """

    edge: float
    gain: float
    units: int
    least: int


def _sizes(spike_sizes: int) -> tuple[SpikeSize, ...]:
    """The K sizes, the smallest first."""
    unit = 0.5 ** (spike_sizes - 1)
    found = [SpikeSize(unit, unit, 1, 1)]
    for power in range(1, spike_sizes):
        least = 2**power
        # Halfway between this size and the next smaller one, where v(0) is half the smallest.
        edge = (0.75 * least + 0.5) * unit
        found.append(SpikeSize(edge, least * unit / 2, least // 2, least))
    return tuple(found)


SPIKE_SIZES = {count: _sizes(count) for count in range(1, 9)}

CountBounds = tuple[int | None, int | None]
"""The least and the largest net spike count that a neuron may have; None: no bound."""

RECTIFIED: CountBounds = (0, None)
SIGNED: CountBounds = (None, None)


class Net(NamedTuple):
    """Net spike counts before a step, None for zeros, and the bounds that they must keep."""

    before: Tensor | None
    least: int | None
    most: int | None

    def may_fall(self, negative_threshold: float) -> bool:
        """Whether any spike can be taken back: not by plain integrate-and-fire neurons."""
        fresh = self.before is None and self.least == 0
        return negative_threshold != -math.inf and not fresh

    def allows(self, change: int) -> Tensor | bool:
        """Where the count may change by so much."""
        n = 0 if self.before is None else self.before
        if change < 0:
            return self.least is None or n >= self.least - change
        return self.most is None or n <= self.most - change

    def gated(self, spikes: Tensor, change: int) -> Tensor:
        """The spikes, a mask or a surrogate's, that may change the count by so much."""
        allowed = self.allows(change)
        if allowed is True:
            return spikes
        if spikes.dtype == torch.bool:
            return spikes & allowed
        return spikes * (ones(allowed, spikes.dtype) if isinstance(allowed, Tensor) else allowed)


class Edges:
    """Where comparisons of a membrane relative to v(0) are made, for each size."""

    def __init__(
        self, threshold: Tensor, negative: float, initial: float, sizes: tuple[SpikeSize, ...]
    ) -> None:
        self.threshold, self.negative, self.unit = threshold, negative, sizes[0].edge
        self.start = initial * self.unit * threshold

    def times(self, factor: float) -> Tensor:
        """A share of θ."""
        return self.threshold if factor == 1 else factor * self.threshold

    def upper(self, size: SpikeSize) -> Tensor:
        """From here on a spike of this size is fired."""
        return self.times(size.edge) - self.start

    def lower(self, size: SpikeSize) -> Tensor:
        """From here down it is taken back: as far below the start as ``upper`` is above, and θ′."""
        if size.edge == self.unit:
            return self.negative - self.start
        return self.negative - self.times(size.edge - self.unit) - self.start

    def below(self, mem: Tensor, size: SpikeSize, out: Tensor | None = None) -> Tensor:
        """Where a membrane is low enough: 0 itself is not below 0."""
        compare = torch.lt if self.negative == 0 else torch.le
        return compare(mem, self.lower(size), out=out)


def ones(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """1 where the mask is true, in a form that compiles to fast code on CPUs."""
    if is_compiling():
        return torch.where(mask, 1.0, 0.0).to(dtype)
    return mask.to(dtype)


def in_graph() -> bool:
    """Whether the operations are recorded, so that none may work in place."""
    return is_compiling() or _is_tracing()
