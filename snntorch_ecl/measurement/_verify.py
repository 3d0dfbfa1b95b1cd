"""``verify``: compare each layer of a spiking network with its ANN's."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import Tensor, nn

from .._util.batches import check_one_input, images_in
from .._util.checks import check_num_steps
from .._util.devices import device_of
from .._util.figures import ABOVE, LINES, NEGATIVE, POSITIVE, new_figure
from .._util.results import Result
from .._util.tables import percent, table
from ..conversion._reference import Reference
from ..errors import ConfigError, DataError
from ..functional._channels import over_channels
from ..network import Seen, SpikingNetwork
from ..network._check_spiking import check_spiking
from ..network._guards import measuring
from ..network._layer import levels_per_step, told
from ..nn import DualThreshold
from ._meters import LayerMeter, LayerObserver

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LayerCheck:
    """One spiking layer compared with the ANN's activation. Shares lie within [0, 1].

    Attributes:
        name: Qualified name.
        error: ``‖mean spikes − activation‖ / ‖activation‖``; None where all activations are zero.
        exact: Share of neurons, over all images, whose mean output is the level nearest to the
            activation.
        saturated: Share of neurons, over all images, that spike at every step although the
            activation is above θ.
        silent: Share of neurons that never spike, although the activation of some image is at
            least θ/2T.
    """

    name: str
    error: float | None
    exact: float
    saturated: float
    silent: float


@dataclass(frozen=True)
class Verification(Result):
    """The result of :func:`verify`. ``print`` it, take ``to_dict()``, or draw it.

    Attributes:
        samples: Number of inputs.
        num_steps: T.
        layers: In the order in which they run.
        levels_per_step: Values that a spike can have, silence included.
    """

    samples: int
    num_steps: int
    layers: tuple[LayerCheck, ...]
    levels_per_step: int = 3

    @property
    def worst(self) -> LayerCheck:
        """The layer whose error grows most over that of the layer before it."""
        errors = [0.0, *(layer.error or 0.0 for layer in self.layers)]
        growth = [after - before for before, after in itertools.pairwise(errors)]
        return self.layers[max(range(len(growth)), key=growth.__getitem__)]

    def table(self) -> Table:
        """Error and shares of each layer, in per cent; the worst is starred."""
        worst = self.worst.name
        return table(
            f"{self.samples:,} inputs, T = {self.num_steps}{told(self.levels_per_step)}, %",
            ("layer", "error", "exact", "saturated", "silent"),
            [
                (f"{c.name}{' *' if c.name == worst else ''}", percent(c.error), percent(c.exact),
                 percent(c.saturated), percent(c.silent))
                for c in self.layers
            ],
            note=f"* {worst}: here the error grows most.",
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {**asdict(self), "worst": self.worst.name}

    def plot(self) -> Figure:
        """Error of each layer, and shares of exact, saturated and silent neurons."""
        figure, (left, right) = new_figure(columns=2, size=(10.0, self.height))
        self.draw_errors(left)
        self.draw_shares(right)
        right.set_ylim(left.get_ylim())  # the same rows on both sides
        right.set_yticks([])
        return figure

    @property
    def height(self) -> float:
        """Of a figure with a row for each layer, in inches."""
        return max(3.0, 0.26 * len(self.layers) + 1.2)

    def draw_errors(self, axes: Axes) -> None:
        """Draw the error of each layer."""
        worst = self.worst
        colours = [NEGATIVE if layer is worst else POSITIVE for layer in self.layers]
        names = [layer.name for layer in self.layers]
        errors = [100 * (layer.error or 0.0) for layer in self.layers]
        axes.barh(names, errors, color=colours, height=0.6)
        axes.set_xlabel("relative error of the mean output, %")
        axes.set_title(f"it grows most in {worst.name}", fontsize=10, color=NEGATIVE)
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.25)

    def draw_shares(self, axes: Axes) -> None:
        """Draw the shares of exact, saturated and silent neurons of each layer."""
        names = [layer.name for layer in self.layers]
        shares = ("exact", "saturated", "silent")
        hues = (POSITIVE, LINES[1], NEGATIVE)
        for marker, colour, name in zip("osx", hues, shares, strict=True):
            values = [100 * getattr(layer, name) for layer in self.layers]
            axes.plot(values, names, marker, color=colour, label=name)
        axes.set_xlabel("share of neurons, %")
        axes.set_xlim(-2, 102)
        axes.legend(**ABOVE, ncols=3)
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.25)


def verify(
    snn: SpikingNetwork,
    ann: nn.Module,
    data: Iterable[Any],
    *,
    num_steps: int,
    key: str | None = None,
    progress: bool = True,
) -> Verification:
    """Compare every spiking layer with the ANN's activation. Run this first if accuracy is bad.

    Args:
        snn: The spiking network. Its state is reset.
        ann: The network that the spiking one came from: ReLU or prepared. It is not changed.
        data: Batches: tensors ``[B, ...]``, tuples that begin with one, or dicts.
        num_steps: T ≥ 1.
        key: Name of the input in batches that are dicts.
        progress: Show a progress bar.

    Returns:
        The comparison, with the worst layer named.

    Raises:
        ConfigError: num_steps < 1, a network without neurons, or an ANN that lacks one of its
            activations.
        DataError: No data, or batches of another form.

    Example:
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> result = verify(convert(ann), ann, [torch.rand(5, 8)], num_steps=4, progress=False)
        >>> result.worst.name, result.layers[0].exact  # exact: constant input, and T = L
        ('1', 1.0)
    """
    check_num_steps(num_steps)
    check_spiking(snn)
    check_one_input(snn.net, "verify")
    if not snn.neurons:
        raise ConfigError("the network has no dual-threshold neuron: there is nothing to compare")
    meters = {
        name: _Meter(name, neuron, num_steps, snn.spike_worth(name))
        for name, neuron in snn.neurons.items()
    }
    layers, samples = LayerObserver(meters, Reference(ann, snn)), 0
    for images in images_in(data, key=key, desc="verify", progress=progress):
        with measuring(snn), torch.no_grad():
            snn.logits_over_time(images.to(device_of(snn)), num_steps=num_steps, observers=[layers])
            samples += len(images)
    if not samples:
        raise DataError("the data is empty: there is no batch to verify on")
    results = tuple(meter.result() for meter in meters.values())
    return Verification(samples, num_steps, results, levels_per_step(snn.neurons.values()))


class _Meter(LayerMeter):
    """Counts exact, saturated and silent neurons of one layer."""

    def __init__(self, name: str, neuron: DualThreshold, num_steps: int, worth: Tensor) -> None:
        super().__init__(name, num_steps, worth)
        self.theta, self.signed = neuron.threshold.detach(), neuron.signed
        self.unit = 0.5 ** (neuron.spike_sizes - 1)
        self.sums = reachable_sums(neuron, num_steps).to(self.theta.device)
        self.exact = self.saturated = self.neurons = 0
        self.spiked: Tensor | None = None
        self.active: Tensor | None = None

    def see(self, seen: Seen) -> None:
        """Also record which neurons spike at all."""
        super().see(seen)
        spiked = (seen.output != 0).any(0)
        self.spiked = spiked if self.spiked is None else self.spiked | spiked

    def compare(self, mean: Tensor, activation: Tensor) -> None:
        """Count exact and saturated neurons, and record which should spike."""
        theta = over_channels(self.theta, mean)
        to_level = self.num_steps / (theta * self.unit)
        sums = self.sums.to(mean.dtype)
        level = (mean * to_level).round()
        ties = (sums[1:] + sums[:-1]) / 2
        wanted = (activation * to_level).to(mean.dtype)
        nearest = sums[torch.bucketize(wanted.contiguous(), ties, right=True)]
        self.exact += int((level == nearest).sum())
        highest = (level == sums[-1]) & (activation > theta)
        if self.signed:
            highest |= (level == sums[0]) & (activation < -theta)
        self.saturated += int(highest.sum())
        self.neurons += mean.numel()
        active = (nearest != 0).any(0)
        self.active = active if self.active is None else self.active | active

    def result(self) -> LayerCheck:
        """The result, once all data has been seen."""
        assert self.spiked is not None
        assert self.active is not None
        silent = self.active & ~self.spiked
        return LayerCheck(
            name=self.name,
            error=self.error,
            exact=self.exact / self.neurons,
            saturated=self.saturated / self.neurons,
            silent=int(silent.sum()) / silent.numel(),
        )


def reachable_sums(neuron: DualThreshold, num_steps: int) -> Tensor:
    """What T spikes of a neuron can add up to, in units of its smallest spike, in order.

    With one or two sizes these are all whole numbers up to the largest; one step of three sizes
    has no 3.
    """
    sizes = [2**power for power in range(neuron.spike_sizes)]
    if neuron.negative_threshold != -torch.inf:
        sizes += [-size for size in sizes]
    largest = num_steps * sizes[neuron.spike_sizes - 1]
    lowest = -largest if neuron.signed else 0
    reached = torch.zeros(largest - lowest + 1, dtype=torch.bool)
    reached[-lowest] = True
    for _ in range(num_steps):
        sums = reached.nonzero().squeeze(1)
        for size in sizes:
            reached[(sums + size).clamp_min(0)] = True
    return reached.nonzero().squeeze(1) + lowest
