"""Clock pulses: how large they must be to hold neurons down, measured on data."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .._util.batches import images_in
from .._util.checks import at
from .._util.devices import device_of
from ..errors import DataError, InputError
from ..functional._channels import over_channels
from ..network import Observer, Seen, SpikingNetwork
from ..network._guards import measuring
from ..nn import StepBias
from ._lowered import LoweredNetwork

_FAR = 2.0**30  # beyond any membrane; in float64 there are still steps of 2^-22


class Pulses(StepBias):
    """Clock pulses before a neuron: start at step 1, release, and close.

    Args:
        bias: ``[steps, C]``: what it adds at each step; in the last row, nothing.
        first: Step of the release, counted from 0; 0: there is only a start.
        neuron: The neuron behind it.
        flat: Whether it takes only ``[B, C]``.

    Raises:
        InputError: Another number of dimensions.

    Example:
        >>> pulses = Pulses(torch.zeros(5, 1), 1, "relu")  # T = 2
        >>> pulses.hold(8.0)
        >>> pulses.bias.flatten().tolist()  # start, release, fire, close, and nothing
        [-8.0, 8.0, 0.0, -8.0, 0.0]
    """

    def __init__(
        self, bias: Tensor, first: int = 0, neuron: str = "", *, flat: bool = False
    ) -> None:
        super().__init__(bias)
        self.first, self.neuron, self.flat = first, neuron, flat

    def forward(self, input_: Tensor, *, num_steps: int = 1, held: int = 1) -> Tensor:
        """Add the pulses of these steps."""
        if self.flat and input_.ndim != 2:
            raise InputError(
                f"{at(self.neuron)}biases by channel were moved into its clock pulses for currents "
                f"[B, C]; got shape {list(input_.shape)}"
            )
        return super().forward(input_, num_steps=num_steps, held=held)

    def hold(self, size: float) -> None:
        """Give the pulses their size K."""
        self.bias[0] -= size
        self.bias[self.first] += size
        self.bias[-2] -= size


def hold_down(chip: LoweredNetwork, data: Iterable[Any], margin: float, key: str | None) -> None:
    """Measure how large membranes become until their release, and size the pulses by that."""
    pulses = {n: m for n, m in chip.net.named_modules() if isinstance(m, Pulses) and m.first}
    twin = copy.deepcopy(chip).double()
    for name in pulses:
        _pulses(twin, name).hold(_FAR)
    peaks, images_seen = _Peaks(twin, pulses), 0
    for images in images_in(data, key=key, desc="settle", progress=False):
        with measuring(twin), torch.no_grad():
            twin.logits_over_time(images.to(device_of(twin)).double(), observers=[peaks])
        images_seen += len(images)
    if not images_seen:
        raise DataError("the data is empty: there is no batch on which to measure membranes")
    for name, layer in pulses.items():
        theta = float(chip.neurons[layer.neuron].threshold.max())
        layer.hold(2.0 ** math.ceil(math.log2(max(margin * peaks.peaks[name], theta))))


def _pulses(chip: SpikingNetwork, name: str) -> Pulses:
    layer = chip.net.get_submodule(name)
    assert isinstance(layer, Pulses)
    return layer


class _Peaks(Observer):
    """The largest membrane of each layer until its release, which no current follows."""

    def __init__(self, chip: SpikingNetwork, pulses: Iterable[str]) -> None:
        super().__init__(tuple(pulses))
        self.chip = chip
        self.peaks = dict.fromkeys(self.layers, 0.0)
        self.sums: dict[str, Tensor] = {}

    def begin(self, *inputs: Tensor) -> None:
        """A group of images begins."""
        self.sums = {}

    def see(self, seen: Seen) -> None:
        """Add up the currents of some steps."""
        rows = seen.input.view(seen.num_steps, -1, *seen.input.shape[1:])
        for step in rows:
            total = self.sums.get(seen.name)
            total = step + self.start(seen.name, step) if total is None else total + step
            self.sums[seen.name] = total
            self.peaks[seen.name] = max(self.peaks[seen.name], float(total.max()))

    def start(self, name: str, step: Tensor) -> Tensor:
        """v(0) and what biases bring at the start."""
        layer = _pulses(self.chip, name)
        half = 0.5 * self.chip.neurons[layer.neuron].threshold
        return over_channels((half + layer.bias[0] + _FAR).flatten(), step)
