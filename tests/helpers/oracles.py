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


class DualThresholdNeuron:
    """One neuron: v is the absolute membrane potential, n the net number of spikes."""

    def __init__(
        self, threshold: Number, lower: float = -1e-3, initial_membrane: Number = HALF
    ) -> None:
        self.theta = Fraction(threshold)
        self.lower = lower
        self.v = Fraction(initial_membrane) * self.theta
        self.n = 0

    def step(self, current: Number) -> int:
        self.v += Fraction(current)
        spike = 0
        if self.v >= self.theta:
            spike = 1
        elif self.n > 0 and self.v <= self.lower:
            spike = -1
        self.v -= spike * self.theta
        self.n += spike
        return spike

    def run(self, currents: Iterable[Number]) -> list[int]:
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
