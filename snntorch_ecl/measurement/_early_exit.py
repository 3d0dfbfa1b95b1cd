"""``exit_curve``: accuracy against mean steps, if images stop when the network is sure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from rich.table import Table
from torch import Tensor

from .._util.batches import check_labels, check_one_input, pairs_in
from .._util.checks import check_min_steps, check_num_steps
from .._util.devices import device_of
from .._util.figures import LINES, POSITIVE, new_figure
from .._util.processes import summed
from .._util.results import Result
from .._util.tables import percent, table
from ..errors import ConfigError, DataError
from ..network import Observer, SpikingNetwork
from ..network._check_spiking import check_spiking
from ..network._guards import measuring
from ..network._layer import levels_per_step, told
from ..network._predict import check_confidence, logits_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONFIDENCES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
"""The confidences that ``exit_curve`` uses by default."""


def check_confidences(confidences: Sequence[float]) -> None:
    """Raise :class:`ConfigError` unless all confidences, at least one, are in (0, 1]."""
    if not confidences:
        raise ConfigError("confidences is empty: give at least one, within (0, 1]")
    for confidence in confidences:
        check_confidence(confidence)


@dataclass(frozen=True)
class ExitPoint:
    """Steps and accuracy at one confidence.

    Attributes:
        confidence: Probability at which an image stops.
        mean_steps: Mean number of steps.
        accuracy: Share of right answers.
    """

    confidence: float
    mean_steps: float
    accuracy: float


@dataclass(frozen=True)
class ExitCurve(Result):
    """The result of :func:`exit_curve`. ``print`` it, take ``to_dict()``, or draw it.

    Attributes:
        samples: Number of images.
        max_steps: T after which every image stops.
        points: One for each confidence.
        fixed: Accuracy if all images take t steps, for t = 1 … T.
        levels_per_step: Values that a spike can have, silence included.
    """

    samples: int
    max_steps: int
    points: tuple[ExitPoint, ...]
    fixed: tuple[float, ...]
    levels_per_step: int = 3

    def table(self) -> Table:
        """Mean steps and accuracy of each confidence."""
        return table(
            f"Early exit on {self.samples:,} images, at most {self.max_steps} steps"
            f"{told(self.levels_per_step)}",
            ("confidence", "mean steps", "accuracy, %"),
            [(f"{p.confidence:g}", f"{p.mean_steps:.2f}", percent(p.accuracy)) for p in self.points]
            + [("no exit", f"{self.max_steps:.2f}", percent(self.fixed[-1]))],
        )

    def plot(self) -> Figure:
        """Accuracy over the mean number of steps, beside that of fixed T (needs matplotlib)."""
        figure, axes = new_figure(size=(6.0, 3.8))
        steps = range(1, self.max_steps + 1)
        fixed = [100 * accuracy for accuracy in self.fixed]
        axes.plot(steps, fixed, "s--", color=LINES[1], label="every image takes T steps")
        means, accuracies = (
            [point.mean_steps for point in self.points],
            [100 * point.accuracy for point in self.points],
        )
        axes.plot(means, accuracies, "o-", color=POSITIVE, label="each image stops when it is sure")
        for point in (self.points[0], self.points[-1]):
            axes.annotate(
                f"{point.confidence:g}", (point.mean_steps, 100 * point.accuracy),
                xytext=(0, 7), textcoords="offset points", ha="center", fontsize=9, color=POSITIVE,
            )  # fmt: skip
        axes.set_xlabel("mean number of steps")
        axes.set_ylabel("accuracy, %")
        axes.legend(frameon=False, loc="lower right")
        axes.grid(alpha=0.25)
        return figure


def exit_curve(
    snn: SpikingNetwork,
    data: Iterable[tuple[Tensor, Tensor]],
    *,
    max_steps: int,
    confidences: Sequence[float] = CONFIDENCES,
    min_steps: int = 2,
    distributed: bool = False,
    progress: bool = True,
) -> ExitCurve:
    """Accuracy against mean steps, for several confidences, from one run of T steps.

    Args:
        snn: The spiking network; its output must be logits ``[B, classes]``. Its state is reset.
        data: Batches ``(images [B, ...], labels [B])``.
        max_steps: T after which every image stops.
        confidences: Each within (0, 1].
        min_steps: As for :meth:`SpikingNetwork.predict`.
        distributed: Add up over all processes of ``torch.distributed``; each passes its own share
            of the data.
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
        >>> curve.points[0].mean_steps  # of two classes, one always has at least 0.5
        2.0
    """
    check_num_steps(max_steps)
    check_min_steps(min_steps, max_steps)
    check_confidences(confidences)
    check_spiking(snn)
    check_one_input(snn.net, "exit_curve")
    # Right answers at t = 1 … T; steps and right answers of each confidence; samples.
    fixed = torch.zeros(max_steps, dtype=torch.int64)
    taken, right = torch.zeros(2, len(confidences), dtype=torch.int64)
    samples = torch.zeros(1, dtype=torch.int64)
    device = device_of(snn)
    no_layers = Observer(())  # with an observer, the network stores no state
    for images, labels in pairs_in(data, desc="early exit", progress=progress):
        with measuring(snn), torch.no_grad():
            logits = snn.logits_over_time(
                images.to(device), num_steps=max_steps, observers=[no_layers]
            )
            surest, correct = _answers(logits, labels.to(device))
            check_labels(labels, logits.shape[2])
            fixed += correct.sum(1).cpu()
            samples += len(labels)
            for index, confidence in enumerate(confidences):
                first = _first_sure(surest, confidence, min_steps)
                taken[index] += int((first + 1).sum())
                right[index] += int(correct.gather(0, first.unsqueeze(0)).sum())
    if distributed:
        fixed, taken, right, samples = map(summed, (fixed, taken, right, samples))
    count = int(samples)
    if not count:
        raise DataError("the data is empty: there is no batch to measure")
    points = tuple(
        ExitPoint(confidence, steps / count, hits / count)
        for confidence, steps, hits in zip(confidences, taken.tolist(), right.tolist(), strict=True)
    )
    accuracy = tuple(hits / count for hits in fixed.tolist())
    return ExitCurve(count, max_steps, points, accuracy, levels_per_step(snn.neurons.values()))


def _answers(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The largest probability, and whether its class is right, both ``[T, B]``."""
    steps = [logits_of(step).softmax(1).max(1) for step in logits]
    surest = torch.stack([probability for probability, _ in steps])
    return surest, torch.stack([choice for _, choice in steps]) == labels


def _first_sure(surest: Tensor, confidence: float, min_steps: int) -> Tensor:
    """The first step, counted from 0, at which each image may stop, ``[B]``."""
    sure = surest >= confidence
    sure[: min_steps - 1] = False
    sure[-1] = True
    return sure.int().argmax(0)
