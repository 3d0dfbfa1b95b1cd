"""``evaluate``: how good a spiking network is at every number of steps, and where it departs."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import Tensor, nn
from tqdm import tqdm

from .activation import ThresholdClip
from .checks import check_num_steps
from .errors import DataError
from .meters import AnswerMeter, LayerMeter, watched_ann
from .network import SpikingNetwork
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
    bar = tqdm(data, desc="evaluate", unit="batch", disable=not progress, leave=False, delay=2)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        meters = {name: LayerMeter(num_steps, snn.spike_worth(name)) for name in snn.neurons}
        for name, neuron in snn.neurons.items():
            stack.callback(neuron.register_forward_hook(meters[name].on_spikes).remove)
        stack.callback(snn.reset)
        _in_eval_mode(snn, stack)
        reference = None if ann is None else _observed(ann, snn, meters, stack)
        for index, batch in enumerate(bar):
            images, labels = _to_device(batch, index, snn)
            ann_logits = None if reference is None else reference(images)
            logits = snn.logits_over_time(images, num_steps=num_steps)
            answers.add(logits, labels, ann_logits)
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


def _to_device(batch: Any, index: int, snn: SpikingNetwork) -> tuple[Tensor, Tensor]:
    """One batch, checked, where the network is."""
    pair = isinstance(batch, (tuple, list)) and len(batch) == 2
    if not pair or not all(isinstance(part, Tensor) for part in batch):
        kind = type(batch).__name__
        raise DataError(f"batch {index} must be a pair of tensors (images, labels); got a {kind}")
    images, labels = batch
    if labels.shape != images.shape[:1] or labels.is_floating_point():
        raise DataError(
            f"batch {index}: labels must be class numbers of shape [{images.shape[0]}]; got "
            f"{labels.dtype} of shape {list(labels.shape)}"
        )
    device = device_of(snn)
    return images.to(device), labels.to(device)


def _observed(
    ann: nn.Module, snn: SpikingNetwork, meters: dict[str, LayerMeter], stack: ExitStack
) -> nn.Module:
    """A copy of the ANN whose activations are watched where they have a spiking layer."""
    ann = watched_ann(ann, meters).to(device_of(snn))
    for name, module in ann.named_modules():
        if name in meters and isinstance(module, ThresholdClip):
            stack.callback(module.register_forward_hook(meters[name].on_activation).remove)
    return ann


def _in_eval_mode(model: nn.Module, stack: ExitStack) -> None:
    """Eval mode for now; each module's own mode again when the stack unwinds."""
    for module in model.modules():
        stack.callback(setattr, module, "training", module.training)
    model.eval()
