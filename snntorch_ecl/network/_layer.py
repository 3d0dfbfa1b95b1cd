"""What a spiking network stores about its conversion."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..nn._dual_threshold import DualThreshold

Norms = Literal["folded", "kept", "folded later"]
"""Batch norms: folded at conversion, kept, or folded later, after fine-tuning."""


@dataclass(frozen=True)
class Layer:
    """A spiking layer of a converted network.

    Attributes:
        name: Qualified name, the same as that of the ``ThresholdClip`` it came from.
        levels: L that the activation was trained with; None if it was not quantised.
    """

    name: str
    levels: int | None


def levels_per_step(neurons: Iterable[DualThreshold]) -> int:
    """How many values a spike can have, silence included: 3; 2K + 1 of K sizes; IF neurons K + 1.

    Graded ones of L levels have 2L + 1. Of neurons that differ, those with the most.
    """
    return max(map(_levels, neurons), default=3)


def _levels(neuron: DualThreshold) -> int:
    sizes: int = getattr(neuron, "levels", neuron.spike_sizes)
    return (1 if math.isinf(neuron.negative_threshold) else 2) * sizes + 1


def told(levels_per_step: int) -> str:
    """How many values a spike can have, for a title; nothing where these are −θ, 0 and +θ."""
    return "" if levels_per_step == 3 else f", {levels_per_step} levels a step"
