"""What is known of the values of a network of whole numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from .._util.checks import check_num_steps, check_whole_numbers
from ..errors import ConfigError

PARALLEL = 4
"""Synapses that a value's way past the layers may take: a shortcut's weight is about θ, a layer's
are far smaller. With one synapse it would be the shortcut that decides how fine they are."""


@dataclass(frozen=True)
class Options:
    """The settings of :func:`~snntorch_ecl.hardware.to_integers`.

    Attributes:
        bounded: Whether a membrane that could overflow within T steps is refused.
        checked: Whether weights that do not fit are; not where a file's tensors follow.
    """

    weight_bits: int = 8
    membrane_bits: int = 24
    input_bits: int = 12
    input_fraction_bits: int = 8
    num_steps: int = 32
    bounded: bool = True
    checked: bool = True

    def __post_init__(self) -> None:
        for name, lowest, highest in _RANGES:
            value = getattr(self, name)
            check_whole_numbers(name, (value,), lowest=lowest)
            if value > highest:
                raise ConfigError(f"{name} must be at most {highest}; got {value}")
        check_num_steps(self.num_steps)

    @property
    def largest_weight(self) -> int:
        """The largest magnitude of a weight."""
        return (1 << (self.weight_bits - 1)) - 1

    @property
    def largest_membrane(self) -> int:
        """The largest magnitude of a membrane."""
        return (1 << (self.membrane_bits - 1)) - 1


_RANGES = (
    ("weight_bits", 2, 16),
    ("membrane_bits", 8, 32),
    ("input_bits", 2, 16),
    ("input_fraction_bits", 0, 16),
)


def largest_setting(name: str) -> int:
    """The largest value that a setting may have."""
    return next(highest for setting, _, highest in _RANGES if setting == name)


@dataclass(frozen=True)
class Whole:
    """A value of whole numbers in the new graph.

    Attributes:
        node: The value.
        unit: What 1 is worth, ``[]`` or ``[C]``.
        bound: The largest magnitude.
        wide: Whether it has more bits than a spike, so that its products are shifted back.
    """

    node: Node
    unit: Tensor
    bound: float
    wide: bool = False

    def survey(self) -> Survey:
        """What it is as a current."""
        zero = torch.zeros_like(self.unit)
        parts = (zero, self.unit) if self.wide else (self.unit / PARALLEL, zero)
        return Survey(*parts, self.unit * self.bound)


@dataclass(frozen=True)
class Survey:
    """What a current is made of, ``[]`` or by channel, in the unit of the activation.

    Attributes:
        narrow: The largest weight of a spike at one synapse.
        wide: The largest weight of 1 in a wide value.
        reach: The largest magnitude of the current.
    """

    narrow: Tensor
    wide: Tensor
    reach: Tensor

    def times(self, factor: Tensor) -> Survey:
        """The survey of the current, multiplied."""
        size = factor.abs()
        return Survey(self.narrow * size, self.wide * size, self.reach * size)

    def plus(self, other: Survey) -> Survey:
        """The survey of a sum of currents."""
        narrow = torch.maximum(self.narrow, other.narrow)
        return Survey(narrow, torch.maximum(self.wide, other.wide), self.reach + other.reach)


def uniform(unit: Tensor) -> Tensor:
    """One value for all channels, if they are equal."""
    same = unit.numel() == 1 or bool((unit == unit.flatten()[0]).all())
    return unit.flatten()[0] if same else unit


def parallel(weight: Tensor, largest: int) -> Tensor:
    """A weight as it is if it fits; else rows ``[N, C]`` that fit and add up to it."""
    rows = []
    while bool((weight.abs() > largest).any()):
        rows.append(weight.clamp(-largest, largest))
        weight = weight - rows[-1]
    return torch.stack([*rows, weight]).view(len(rows) + 1, -1) if rows else weight
