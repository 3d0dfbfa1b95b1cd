"""What a spiking network stores about its conversion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
