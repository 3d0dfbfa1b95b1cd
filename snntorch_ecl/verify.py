"""``verify``: where a spiking network departs from its ANN, layer by layer."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import Tensor, nn

from .activation import over_channels
from .batches import check_one_input, images_in
from .checks import check_num_steps
from .errors import ConfigError, DataError
from .guards import measuring
from .meters import LayerMeter, activations_of, watched_ann
from .network import SpikingNetwork, check_spiking
from .neuron import DualThreshold
from .processes import device_of
from .tables import percent, render, table
from .temporal import unfold

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LayerCheck", "Verification", "verify"]


@dataclass(frozen=True)
class LayerCheck:
    """One spiking layer beside the activation it stands for. Shares lie within [0, 1].

    Attributes:
        name: Qualified name.
        error: ``‖mean spikes − activation‖ / ‖activation‖``; None where all activations are zero.
        exact: Neurons, over all images, whose mean output is the activation's nearest level.
        saturated: Neurons that spike at every step, where the activation is above θ.
        silent: Neurons that spike on no image, though their activation is above θ/2T on some.
    """

    name: str
    error: float | None
    exact: float
    saturated: float
    silent: float


@dataclass(frozen=True)
class Verification:
    """The result of :func:`verify`. ``print`` it, take ``to_dict()``, or draw it.

    Attributes:
        samples: Number of inputs.
        num_steps: T.
        layers: In the order in which they run.
    """

    samples: int
    num_steps: int
    layers: tuple[LayerCheck, ...]

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
            f"{self.samples:,} inputs, T = {self.num_steps}, %",
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
        """Error and shares of each layer (needs matplotlib)."""
        from .figures import verification_figure

        return verification_figure(self)

    def __str__(self) -> str:
        return render(self.table())


def verify(
    ann: nn.Module,
    snn: SpikingNetwork,
    data: Iterable[Any],
    *,
    num_steps: int,
    key: str | None = None,
    progress: bool = True,
) -> Verification:
    """Compare every spiking layer with its activation: the first thing to run if accuracy is bad.

    Args:
        ann: The network that the spiking one came from: ReLU or prepared. It stays as it is.
        snn: The spiking network. Its state is reset.
        data: Batches: tensors ``[B, ...]``, tuples that begin with one, or dicts.
        num_steps: T ≥ 1.
        key: Name of the input in batches that are dicts.
        progress: Show a progress bar.

    Returns:
        The comparison, with the worst layer named.

    Raises:
        ConfigError: num_steps < 1, the network has no neuron, or the ANN lacks its activation.
        DataError: No data, or batches of another form.

    Example:
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> result = verify(ann, convert(ann), [torch.rand(5, 8)], num_steps=4, progress=False)
        >>> result.worst.name, result.layers[0].exact  # constant input, T = L: no error at all
        ('1', 1.0)
    """
    check_num_steps(num_steps)
    check_spiking(snn)
    check_one_input(snn.net, "verify")
    if not snn.neurons:
        raise ConfigError("the network has no dual-threshold neuron: there is nothing to compare")
    meters = {
        name: _Meter(neuron, num_steps, snn.spike_worth(name))
        for name, neuron in snn.neurons.items()
    }
    device = device_of(snn)
    reference = watched_ann(ann, snn.neurons).to(device)
    clips = activations_of(reference, snn.neurons)
    samples = 0
    with ExitStack() as stack, measuring(snn), torch.no_grad():
        for name, meter in meters.items():
            stack.callback(clips[name].register_forward_hook(meter.on_activation).remove)
            stack.callback(snn.neurons[name].register_forward_hook(meter.on_spikes).remove)
        for batch in images_in(data, key=key, desc="verify", progress=progress):
            images = batch.to(device)
            reference(images)
            snn(images, num_steps=num_steps)
            samples += len(images)
    if not samples:
        raise DataError("the data is empty: there is no batch to verify on")
    return Verification(
        samples, num_steps, tuple(meter.result(name) for name, meter in meters.items())
    )


class _Meter(LayerMeter):
    """Counts of one layer over all data, beside the sums of its error."""

    def __init__(self, neuron: DualThreshold, num_steps: int, worth: Tensor) -> None:
        super().__init__(num_steps, worth)
        self.neuron = neuron
        self.exact = self.saturated = self.neurons = 0
        self.spiked: Tensor | None = None
        self.active: Tensor | None = None

    def on_spikes(self, module: nn.Module, args: Any, output: Tensor) -> None:
        """Forward hook of the spiking layer, after that of its activation."""
        wanted = self.activation
        assert wanted is not None
        super().on_spikes(module, args, output)
        steps = unfold(output, self.num_steps)
        mean = self.mean(output)
        theta = over_channels(self.neuron.threshold.detach(), mean)
        level = (mean * self.num_steps / theta).round()
        nearest = (wanted * self.num_steps / theta + 0.5).floor().clamp(0, self.num_steps)
        self.exact += int((level == nearest).sum())
        self.saturated += int(((level == self.num_steps) & (wanted > theta)).sum())
        self.neurons += mean.numel()
        spiked, active = (steps != 0).any(0).any(0), (nearest > 0).any(0)
        self.spiked = spiked if self.spiked is None else self.spiked | spiked
        self.active = active if self.active is None else self.active | active

    def result(self, name: str) -> LayerCheck:
        """The figures, once all data has been seen."""
        assert self.spiked is not None
        assert self.active is not None
        return LayerCheck(
            name=name,
            error=self.error,
            exact=self.exact / self.neurons,
            saturated=self.saturated / self.neurons,
            silent=float((self.active & ~self.spiked).double().mean()),
        )
