"""Stopping each image when the network is sure of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import Tensor

from .batches import pairs_in
from .checks import check_num_steps, check_whole_numbers
from .errors import ConfigError, DataError, InputError
from .guards import measuring
from .network import check_spiking
from .pool import SignedMaxPool
from .processes import device_of
from .tables import percent, render, table
from .temporal import Temporal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .network import SpikingNetwork

__all__ = [
    "CONFIDENCES",
    "ExitCurve",
    "ExitPoint",
    "Prediction",
    "check_confidence",
    "check_confidences",
    "exit_curve",
    "predict",
]

CONFIDENCES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
"""Those that a curve is drawn through."""


@dataclass(frozen=True)
class Prediction:
    """Answers of :meth:`SpikingNetwork.predict`, image by image.

    Attributes:
        classes: ``[B]``, int64.
        confidence: Probability of that class when the image stopped, ``[B]``.
        steps: Steps that the image took, ``[B]``, int64.
    """

    classes: Tensor
    confidence: Tensor
    steps: Tensor

    @property
    def mean_steps(self) -> float:
        """Mean number of steps."""
        return float(self.steps.double().mean())


@torch.no_grad()
def predict(
    snn: SpikingNetwork, *inputs: Tensor, max_steps: int, confidence: float, min_steps: int
) -> Prediction:
    """See :meth:`SpikingNetwork.predict`."""
    check_num_steps(max_steps)
    check_whole_numbers("min_steps", (min_steps,), lowest=1)
    check_confidence(confidence)
    snn.reset()
    with measuring(snn):
        return _predict(snn, inputs, max_steps, confidence, min_steps)


def _predict(
    snn: SpikingNetwork,
    inputs: tuple[Tensor, ...],
    max_steps: int,
    confidence: float,
    min_steps: int,
) -> Prediction:
    found: Prediction | None = None
    total: Any = 0
    running, droppable = torch.zeros(0), False
    for step in range(1, max_steps + 1):
        total = total + _logits(snn.step(*inputs))
        surest, choice = (total / step).softmax(1).max(1)
        if found is None:
            running, droppable = torch.arange(len(choice)), _droppable(snn, len(choice))
            found = Prediction(choice.clone(), surest.clone(), torch.full_like(choice, max_steps))
        rows = running.to(choice.device)
        going = found.steps[rows] == max_steps  # those that were dropped late are not asked again
        now = rows[going]
        found.classes[now], found.confidence[now] = choice[going], surest[going]
        if step >= min_steps:
            found.steps[now[surest[going] >= confidence]] = step
        left = found.steps[rows] == max_steps
        if not bool(left.any()):
            break
        if droppable and not bool(left.all()):
            inputs = tuple(x[left.to(x.device)] for x in inputs)
            total, running = total[left], rows[left]
            for layer in snn.net.modules():
                if isinstance(layer, Temporal):
                    layer.select(left)
    assert found is not None
    return found


def _droppable(snn: SpikingNetwork, images: int) -> bool:
    """Whether every layer can go on with some of the images: its state has one row for each."""
    layers = [layer for layer in snn.net.modules() if isinstance(layer, Temporal)]
    rows = [len(neuron.mem) for neuron in snn.neurons.values()]
    rows += [pool.rows or 0 for pool in snn.net.modules() if isinstance(pool, SignedMaxPool)]
    selectable = all(type(layer).select is not Temporal.select for layer in layers)
    return selectable and all(number == images for number in rows)


def _logits(output: Any) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim != 2:
        raise InputError("early exit needs a network with one output, logits [B, classes]")
    return output


def check_confidence(confidence: float) -> None:
    """Raise :class:`ConfigError` unless a confidence lies within (0, 1]."""
    if not (isinstance(confidence, (int, float)) and 0 < confidence <= 1):
        raise ConfigError(f"confidence must lie in (0, 1]; got {confidence!r}")


def check_confidences(confidences: Sequence[float]) -> None:
    """Raise :class:`ConfigError` unless there are confidences, all within (0, 1]."""
    if not confidences:
        raise ConfigError("confidences is empty: give at least one, within (0, 1]")
    for confidence in confidences:
        check_confidence(confidence)


@dataclass(frozen=True)
class ExitPoint:
    """What one confidence costs and brings.

    Attributes:
        confidence: Probability at which an image stops.
        mean_steps: Mean number of steps.
        accuracy: Share of right answers.
    """

    confidence: float
    mean_steps: float
    accuracy: float


@dataclass(frozen=True)
class ExitCurve:
    """The result of :func:`exit_curve`. ``print`` it, take ``to_dict()``, or draw it.

    Attributes:
        samples: Number of images.
        max_steps: T after which every image stops.
        points: One for each confidence.
        fixed: Accuracy where all images take t = 1 … T steps.
    """

    samples: int
    max_steps: int
    points: tuple[ExitPoint, ...]
    fixed: tuple[float, ...]

    def table(self) -> Table:
        """Mean steps and accuracy of each confidence."""
        return table(
            f"Early exit on {self.samples:,} images, at most {self.max_steps} steps",
            ("confidence", "mean steps", "accuracy, %"),
            [(f"{p.confidence:g}", f"{p.mean_steps:.2f}", percent(p.accuracy)) for p in self.points]
            + [("no exit", f"{self.max_steps:.2f}", percent(self.fixed[-1]))],
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    def plot(self) -> Figure:
        """Accuracy over mean steps, beside that of fixed T (needs matplotlib)."""
        from .figures import exit_figure

        return exit_figure(self)

    def __str__(self) -> str:
        return render(self.table())


def exit_curve(
    snn: SpikingNetwork,
    data: Iterable[tuple[Tensor, Tensor]],
    *,
    max_steps: int,
    confidences: Sequence[float] = CONFIDENCES,
    min_steps: int = 2,
    progress: bool = True,
) -> ExitCurve:
    """Accuracy against mean steps, for several confidences, from one run of T steps.

    Args:
        snn: The spiking network; its output must be logits ``[B, classes]``. Its state is reset.
        data: Batches ``(images [B, ...], labels [B])``.
        max_steps: T after which every image stops.
        confidences: Each within (0, 1].
        min_steps: As for :meth:`SpikingNetwork.predict`.
        progress: Show a progress bar.

    Returns:
        The curve.

    Raises:
        ConfigError: max_steps or min_steps < 1, a confidence outside its range, or none.
        DataError: No data, or batches of another form.

    Example:
        >>> from torch import nn
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> data = [(torch.rand(5, 8), torch.tensor([0, 1, 0, 1, 0]))]
        >>> curve = exit_curve(convert(ann), data, max_steps=4, confidences=(0.5,), progress=False)
        >>> curve.points[0].mean_steps  # two classes: one is always that sure
        2.0
    """
    check_num_steps(max_steps)
    check_whole_numbers("min_steps", (min_steps,), lowest=1)
    check_confidences(confidences)
    samples, steps = 0, [0] * len(confidences)
    right, fixed = [0] * len(confidences), torch.zeros(max_steps, dtype=torch.int64)
    check_spiking(snn)
    device = device_of(snn)
    with measuring(snn), torch.no_grad():
        for images, labels in pairs_in(data, desc="early exit", progress=progress):
            logits: Tensor = snn.logits_over_time(images.to(device), num_steps=max_steps)
            surest, choice = _logits(logits.flatten(0, 1)).softmax(1).max(1)
            surest, choice = surest.view(max_steps, -1), choice.view(max_steps, -1)
            correct = choice == labels.to(device)
            fixed += correct.sum(1).cpu()
            samples += len(labels)
            for index, confidence in enumerate(confidences):
                sure = surest >= confidence
                sure[: min_steps - 1] = False
                sure[-1] = True
                first = sure.int().argmax(0)
                steps[index] += int((first + 1).sum())
                right[index] += int(correct.gather(0, first.unsqueeze(0)).sum())
    if not samples:
        raise DataError("the data is empty: there is no batch to measure")
    points = tuple(
        ExitPoint(confidence, total / samples, hits / samples)
        for confidence, total, hits in zip(confidences, steps, right, strict=True)
    )
    return ExitCurve(samples, max_steps, points, tuple((fixed.double() / samples).tolist()))
