"""``verify``: where a spiking network departs from its ANN, layer by layer."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import Tensor, nn
from tqdm import tqdm

from .activation import ThresholdClip, over_channels
from .calibrate import images_of
from .checks import check_num_steps
from .convert import prepare
from .errors import ConfigError, DataError
from .network import SpikingNetwork
from .neuron import DualThreshold
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
        from .plot import verification_figure

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
        ConfigError: num_steps < 1, or the ANN lacks an activation of the network.
        DataError: No data, or batches of another form.

    Example:
        >>> from snntorch_ecl import convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> result = verify(ann, convert(ann), [torch.rand(5, 8)], num_steps=4, progress=False)
        >>> result.worst.name, result.layers[0].exact  # constant input, T = L: no error at all
        ('1', 1.0)
    """
    check_num_steps(num_steps)
    reference = watched_ann(ann, tuple(snn.neurons))
    meters = {name: _Meter(neuron, num_steps) for name, neuron in snn.neurons.items()}
    device = next((p.device for p in snn.parameters()), torch.device("cpu"))
    samples = 0
    bar = tqdm(data, desc="verify", unit="batch", disable=not progress, leave=False, delay=2)
    with ExitStack() as stack, torch.no_grad():
        for name, meter in meters.items():
            clip = reference.get_submodule(name)
            stack.callback(clip.register_forward_hook(meter.on_activation).remove)
            stack.callback(snn.neurons[name].register_forward_hook(meter.on_spikes).remove)
        stack.callback(snn.reset)
        reference.to(device)
        for index, batch in enumerate(bar):
            images = images_of(batch, index, key).to(device)
            reference(images)
            snn(images, num_steps=num_steps)
            samples += len(images)
    if not samples:
        raise DataError("the data is empty: there is no batch to verify on")
    return Verification(
        samples, num_steps, tuple(meter.result(name) for name, meter in meters.items())
    )


def watched_ann(ann: nn.Module, names: tuple[str, ...]) -> nn.Module:
    """A copy of an ANN in eval mode whose activations are modules of these names.

    Args:
        ann: A ReLU network, or a prepared one.
        names: Of the spiking layers.

    Returns:
        The copy.

    Raises:
        ConfigError: It lacks some of them.
    """
    copied = copy.deepcopy(ann).eval()
    if not any(isinstance(module, ThresholdClip) for module in copied.modules()):
        copied = prepare(copied)  # an unset clip passes ReLU through, at the spiking layers' names
    clips = {n for n, m in copied.named_modules() if isinstance(m, ThresholdClip)}
    missing = [name for name in names if name not in clips]
    if missing:
        raise ConfigError(
            f"{type(ann).__name__} has no activation {', '.join(missing)}: give the network that "
            "the spiking one was converted from"
        )
    return copied


class _Meter:
    """Sums of one layer over all data."""

    def __init__(self, neuron: DualThreshold, num_steps: int) -> None:
        self.neuron = neuron
        self.num_steps = num_steps
        self.activation = torch.zeros(0)
        self.distance = self.size = 0.0
        self.exact = self.saturated = self.neurons = 0
        self.spiked: Tensor | None = None
        self.active: Tensor | None = None

    def on_activation(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.activation = output

    def on_spikes(self, module: nn.Module, args: Any, output: Tensor) -> None:
        steps = unfold(output, self.num_steps)
        mean, wanted = steps.mean(0), self.activation
        self.distance += float((mean - wanted).double().square().sum())
        self.size += float(wanted.double().square().sum())
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
        assert self.spiked is not None
        assert self.active is not None
        return LayerCheck(
            name=name,
            error=(self.distance / self.size) ** 0.5 if self.size > 0 else None,
            exact=self.exact / self.neurons,
            saturated=self.saturated / self.neurons,
            silent=float((self.active & ~self.spiked).double().mean()),
        )
