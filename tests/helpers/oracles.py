"""The equations once more, as scalar exact arithmetic: the truth the package is measured against.

No torch, nothing from the package. Numbers are fractions, so nothing here ever rounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

Number = int | float | Fraction
HALF = Fraction(1, 2)


def clip(z: Number, threshold: Number, levels: int | None) -> Fraction:
    """h(z) = λ · clip(floor(z·L/λ + 1/2) / L, 0, 1); without levels min(max(z, 0), λ)."""
    z, lam = Fraction(z), Fraction(threshold)
    if levels is None:
        return min(max(z, Fraction(0)), lam)
    level = math.floor(z * levels / lam + HALF)
    return lam * Fraction(min(max(level, 0), levels), levels)


def signed_clip(z: Number, threshold: Number, levels: int | None) -> Fraction:
    """h(z) = λ · clip(floor(z·L/λ + 1/2) / L, −1, 1); without levels min(max(z, −λ), λ)."""
    z, lam = Fraction(z), Fraction(threshold)
    if levels is None:
        return min(max(z, -lam), lam)
    level = math.floor(z * levels / lam + HALF)
    return lam * Fraction(min(max(level, -levels), levels), levels)


class DualThresholdNeuron:
    """One neuron: v is the absolute membrane potential, n the net number of spikes.

    Its count stays between ``least`` and ``most``. A lower threshold of 0 means below 0.
    """

    def __init__(
        self,
        threshold: Number,
        lower: float = -1e-3,
        initial_membrane: Number = HALF,
        least: float = 0,
        most: float = math.inf,
    ) -> None:
        self.theta = Fraction(threshold)
        self.lower, self.least, self.most = lower, least, most
        self.v = Fraction(initial_membrane) * self.theta
        self.n = 0

    def step(self, current: Number) -> int:
        self.v += Fraction(current)
        spike = 0
        low = self.v < 0 if self.lower == 0 else self.v <= self.lower
        if self.v >= self.theta and self.n < self.most:
            spike = 1
        elif low and self.n > self.least:
            spike = -1
        self.v -= spike * self.theta
        self.n += spike
        return spike

    def run(self, currents: Iterable[Number]) -> list[int]:
        return [self.step(current) for current in currents]


class SizedNeuron:
    """A neuron whose spikes have the nearest of the sizes 1, 1/2, … 1/2^(K−1), in units of θ.

    It looks for the size, from the largest down, that leaves the charge at least as near to zero
    as the next smaller one does; the smallest is compared with no spike. The charge is what is
    above half the smallest size; of a spike that is taken back, what is below, and below θ′.
    """

    def __init__(
        self,
        threshold: Number,
        sizes: int,
        lower: float = -1e-3,
        initial_membrane: Number = HALF,
    ) -> None:
        self.theta, self.lower = Fraction(threshold), lower
        self.sizes = [Fraction(1, 2**power) for power in range(sizes)]
        self.v = Fraction(initial_membrane) * self.sizes[-1] * self.theta
        self.n = Fraction(0)

    def nearest(self, charge: Fraction, largest: Fraction) -> Fraction:
        for size, smaller in zip(self.sizes, [*self.sizes[1:], Fraction(0)], strict=True):
            if size <= largest and abs(charge - size) <= abs(charge - smaller):
                return size
        return Fraction(0)

    def step(self, current: Number) -> float:
        self.v += Fraction(current)
        charge = self.v / self.theta - self.sizes[-1] / 2
        spike = self.nearest(charge, self.sizes[0])
        if spike == 0 and self.lower != -math.inf:
            spike = -self.nearest(Fraction(self.lower) / self.theta - charge, self.n)
        self.v -= spike * self.theta
        self.n += spike
        return float(spike)

    def run(self, currents: Iterable[Number]) -> list[float]:
        return [self.step(current) for current in currents]


def integrate_and_fire(
    currents: Iterable[Number], threshold: Number, initial_membrane: Number = HALF
) -> list[int]:
    """The ordinary neuron with soft reset, which never takes a spike back."""
    theta = Fraction(threshold)
    v = Fraction(initial_membrane) * theta
    spikes = []
    for current in currents:
        v += Fraction(current)
        fires = v >= theta
        spikes.append(int(fires))
        if fires:
            v -= theta
    return spikes


def linear(weight: Sequence[Sequence[Number]], x: Sequence[Number]) -> list[Fraction]:
    """W x, exactly."""
    return [
        sum((Fraction(w) * Fraction(a) for w, a in zip(row, x, strict=True)), Fraction(0))
        for row in weight
    ]


def atan_slope(u: float) -> float:
    """Derivative of snnTorch's default surrogate, arctan(π·u)/π."""
    return 1.0 / (1.0 + (math.pi * u) ** 2)


def surrogate_gradients(
    currents: Sequence[float],
    weights: Sequence[float],
    threshold: float,
    lower: float,
    initial_membrane: float = 0.5,
) -> tuple[list[float], float]:
    """d(Σ_t w_t·s_t)/dI_k and /dθ, with reset and count detached.

    The membrane (relative to its start) before the reset is m_t = Σ_{τ≤t} I_τ − θ·Σ_{τ<t} s_τ; a
    spike has slope σ(u⁺) in u⁺ = (m − (1−μ)θ)/θ and −σ(u⁻) in u⁻ = (θ′ − μθ − m)/θ, if n > 0.
    """
    neuron = DualThresholdNeuron(threshold, lower, initial_membrane)
    by_current, by_threshold, past_spikes, m = [0.0] * len(currents), 0.0, 0, 0.0
    for t, (current, weight) in enumerate(zip(currents, weights, strict=True)):
        gate = neuron.n > 0
        m += current
        up = m / threshold - (1 - initial_membrane)
        down = lower / threshold - initial_membrane - m / threshold
        slope_up, slope_down = atan_slope(up), gate * atan_slope(down)
        for k in range(t + 1):
            by_current[k] += weight * (slope_up + slope_down) / threshold
        up_by_threshold = -past_spikes / threshold - m / threshold**2
        down_by_threshold = past_spikes / threshold + (m - lower) / threshold**2
        by_threshold += weight * (slope_up * up_by_threshold - slope_down * down_by_threshold)
        spike = neuron.step(current)
        past_spikes += spike
        m -= threshold * spike
    return by_current, by_threshold


def sized_gradients(
    currents: Sequence[float],
    weights: Sequence[float],
    theta: float,
    sizes: int,
    lower: float,
) -> list[float]:
    """d(Σ_t w_t·s_t)/dI_k of :class:`SizedNeuron`, with reset and count detached.

    A size s adds g = s/2 to the next smaller one (the smallest adds itself), and is fired halfway
    between both, at c = s − g/2 above half the smallest. There the spike has the slope
    g·σ((v − c)/gθ)/gθ = σ(…)/θ; as far below, and by θ′, the same if n ≥ s.
    """
    neuron, unit = SizedNeuron(theta, sizes, lower), 0.5 ** (sizes - 1)
    found = [0.0] * len(currents)
    for t, (current, weight) in enumerate(zip(currents, weights, strict=True)):
        charge = float(neuron.v) + current - unit * theta / 2
        slope = 0.0
        for size in (0.5**power for power in range(sizes)):
            gain = size if size == unit else size / 2
            edge = (size - gain / 2) * theta
            slope += atan_slope((charge - edge) / (gain * theta))
            if neuron.n >= size and lower != -math.inf:
                slope += atan_slope((lower - charge - edge) / (gain * theta))
        for k in range(t + 1):
            found[k] += weight * slope / theta
        neuron.step(current)
    return found
