"""``evaluate``: how good a spiking network is at every number of steps, and where it departs."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import Tensor, nn

from .activation import ThresholdClip
from .batches import pairs_in
from .checks import check_num_steps
from .errors import DataError
from .guards import measuring
from .meters import AnswerMeter, LayerMeter, watched_ann
from .network import SpikingNetwork, check_spiking
from .processes import device_of
from .tables import percent, render, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Evaluation", "LayerActivity", "evaluate"]


@dataclass(frozen=True)
class LayerActivity:
    """What one spiking layer did over the whole data.

    Attributes:
        name: Qualified name.
        error: ``‖mean spike output − ANN activation‖ / ‖ANN activation‖`` after T steps; None
            without an ANN, or where its activation is zero throughout.
        spike_rate: Spikes of either sign per neuron and step.
        negative_rate: Negative spikes per neuron and step.
    """

    name: str
    error: float | None
    spike_rate: float
    negative_rate: float


@dataclass(frozen=True)
class Evaluation:
    """The result of :func:`evaluate`. ``print`` it, take ``to_dict()``, or draw it.

    Attributes:
        samples: Number of images.
        num_steps: T.
        accuracy: Share of images classified right at t = 1 … T.
        ann_accuracy: The same for the ANN; None if none was given.
        agreement: Share of images on which SNN and ANN choose the same class, at t = 1 … T.
        layers: Activity of each spiking layer over T steps.
    """

    samples: int
    num_steps: int
    accuracy: tuple[float, ...]
    ann_accuracy: float | None
    agreement: tuple[float, ...] | None
    layers: tuple[LayerActivity, ...]

    def table(self) -> Table:
        """Accuracy and agreement over time, in per cent."""
        rows = []
        for index, accuracy in enumerate(self.accuracy):
            agreement = None if self.agreement is None else self.agreement[index]
            loss = None if self.ann_accuracy is None else accuracy - self.ann_accuracy
            rows.append((f"T = {index + 1}", percent(accuracy), percent(loss), percent(agreement)))
        if self.ann_accuracy is not None:
            rows.append(("ANN", percent(self.ann_accuracy), "–", "–"))
        title = f"Accuracy on {self.samples:,} images, %"
        return table(title, ("steps", "accuracy", "against ANN", "agreement"), rows)

    def layer_table(self) -> Table:
        """Error and rates of each layer."""
        return table(
            f"Spiking layers over T = {self.num_steps}, %",
            ("layer", "error", "spikes / step", "negative / step"),
            [
                (la.name, percent(la.error), percent(la.spike_rate), percent(la.negative_rate))
                for la in self.layers
            ],
            note="The ANN's activation has L levels: at another T part of the error is that.",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    def plot(self) -> Figure:
        """Accuracy over time, error and rates per layer, in one figure (needs matplotlib)."""
        from .figures import evaluation_figure

        return evaluation_figure(self)

    def __str__(self) -> str:
        return render(self.table(), self.layer_table())


def evaluate(
    snn: SpikingNetwork,
    data: Iterable[tuple[Tensor, Tensor]],
    *,
    num_steps: int,
    ann: nn.Module | None = None,
    distributed: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Measure a classifier at every t ≤ T from one run of T steps.

    Args:
        snn: The spiking network; its output must be logits ``[B, classes]``. It runs where its
            parameters are; data is moved there. Its state is reset.
        data: Batches ``(images [B, ...], labels [B])``, such as a ``DataLoader`` gives.
        num_steps: T ≥ 1.
        ann: The network it came from (prepared, or the ReLU network): adds its accuracy, the
            agreement and the layers' errors. It is run in eval mode and left as it was.
        distributed: Add up over all processes of ``torch.distributed``; each gives its own share
            of the data.
        progress: Show a progress bar.

    Returns:
        The figures; shares lie within [0, 1].

    Raises:
        ConfigError: num_steps < 1.
        DataError: No data, or batches of another form.
        InputError: Images hold NaN or infinity.

    Example:
        >>> from snntorch_ecl import convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> data = [(torch.rand(5, 8), torch.tensor([0, 1, 0, 1, 0]))]
        >>> result = evaluate(convert(ann), data, num_steps=4, ann=ann, progress=False)
        >>> len(result.accuracy), result.samples
        (4, 5)
    """
    check_num_steps(num_steps)
    answers = AnswerMeter(num_steps)
    check_spiking(snn)
    device = device_of(snn)
    with ExitStack() as stack, measuring(snn), torch.inference_mode():
        meters = {name: LayerMeter(num_steps, snn.spike_worth(name)) for name in snn.neurons}
        for name, neuron in snn.neurons.items():
            stack.callback(neuron.register_forward_hook(meters[name].on_spikes).remove)
        reference = None if ann is None else _observed(ann, snn, meters, stack)
        for batch, labels in pairs_in(data, desc="evaluate", progress=progress):
            images = batch.to(device)
            ann_logits = None if reference is None else reference(images)
            logits = snn.logits_over_time(images, num_steps=num_steps)
            answers.add(logits, labels.to(device), ann_logits)
    if distributed:
        answers.gather()
        for meter in meters.values():
            meter.gather()
    if not answers.samples:
        raise DataError("the data is empty: there is no batch to evaluate on")
    return Evaluation(
        samples=answers.samples,
        num_steps=num_steps,
        accuracy=answers.accuracy,
        ann_accuracy=None if ann is None else answers.ann_accuracy,
        agreement=None if ann is None else answers.agreement,
        layers=tuple(
            LayerActivity(name, meter.error, meter.spike_rate, meter.negative_rate)
            for name, meter in meters.items()
        ),
    )


def _observed(
    ann: nn.Module, snn: SpikingNetwork, meters: dict[str, LayerMeter], stack: ExitStack
) -> nn.Module:
    """A copy of the ANN whose activations are watched where they have a spiking layer."""
    ann = watched_ann(ann, meters).to(device_of(snn))
    for name, module in ann.named_modules():
        if name in meters and isinstance(module, ThresholdClip):
            stack.callback(module.register_forward_hook(meters[name].on_activation).remove)
    return ann
