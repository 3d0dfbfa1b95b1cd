"""``ablate``: what each part of the neuron brings, on one checkpoint."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table
from torch import Tensor, nn

from .._util.figures import new_figure
from .._util.results import Result
from .._util.tables import percent, table
from ..conversion import convert
from ..errors import ConfigError
from ..measurement import Evaluation, accuracy_axes, evaluate
from ..network import SpikingNetwork
from ..network._check_spiking import check_spiking

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DUAL, PLAIN = "dual threshold", "IF"

# By name of a neuron: its θ′ for a layer's smallest θ, and its v(0) in units of θ.
_SETTINGS: Mapping[str, tuple[Callable[[float], float], float]] = {
    DUAL: (lambda theta: -1e-3, 0.5),
    PLAIN: (lambda theta: -math.inf, 0.5),
    f"{DUAL}, v(0) = 0": (lambda theta: -1e-3, 0.0),
    f"{PLAIN}, v(0) = 0": (lambda theta: -math.inf, 0.0),
    f"{DUAL}, θ′ = −θ/2": (lambda theta: -theta / 2, 0.5),
    f"{DUAL}, θ′ = −θ": (lambda theta: -theta, 0.5),
}

NEURONS = tuple(_SETTINGS)
"""The neurons of the ablation."""


def variants(snn: SpikingNetwork) -> dict[str, SpikingNetwork]:
    """Copies of one spiking network, with each of :data:`NEURONS`, by name.

    In a layer with a θ for each channel, θ′ = −θ/2 and −θ are those of the smallest one.
    """
    check_spiking(snn)
    networks = {name: copy.deepcopy(snn) for name in NEURONS}
    for name, (lower, start) in _SETTINGS.items():
        for neuron in networks[name].neurons.values():
            neuron.negative_threshold = lower(float(neuron.threshold.min()))
            neuron.initial_membrane = start
    return networks


def check_neurons(names: Sequence[str]) -> None:
    """Raise :class:`ConfigError` unless all are among :data:`NEURONS`, and there is one."""
    unknown = [name for name in names if name not in NEURONS]
    if unknown or not names:
        raise ConfigError(
            f"neurons must be some of {', '.join(map(repr, NEURONS))}; got {list(names)}"
        )


def accuracy_rows(
    evaluations: Mapping[str, Evaluation], steps: Sequence[int]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of a table: accuracy of the ANN and at each T, in per cent, by neuron."""
    columns = ("neuron", "ANN", *(f"T = {t}" for t in steps))
    rows = [
        (name, *map(percent, (e.ann_accuracy, *(e.accuracy[t - 1] for t in steps))))
        for name, e in evaluations.items()
    ]
    return columns, rows


@dataclass(frozen=True)
class Ablation(Result):
    """Neurons compared on one checkpoint.

    Attributes:
        steps: The T that are shown.
        evaluations: By neuron.
    """

    steps: tuple[int, ...]
    evaluations: Mapping[str, Evaluation]

    def table(self) -> Table:
        """Accuracy of the ANN and at each T, a row for each neuron."""
        samples = next(iter(self.evaluations.values())).samples
        columns, rows = accuracy_rows(self.evaluations, self.steps)
        return table(f"Accuracy on {samples:,} images, %", columns, rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON: each neuron's evaluation, over all t."""
        return {name: e.to_dict() for name, e in self.evaluations.items()}

    def plot(self) -> Figure:
        """Accuracy over time, a line for each neuron (needs matplotlib)."""
        figure, axes = new_figure(size=(8, 4.2))
        accuracy_axes(axes, self.evaluations)
        return figure


def ablate(
    ann: nn.Module,
    data: Iterable[tuple[Tensor, Tensor]],
    *,
    snn: SpikingNetwork | None = None,
    steps: Sequence[int] = (1, 2, 4, 8, 16, 32),
    neurons: Sequence[str] = NEURONS,
    compiled: bool = False,
    distributed: bool = False,
    progress: bool = True,
) -> Ablation:
    """Measure each of :data:`NEURONS` on one checkpoint.

    Args:
        ann: A prepared network with its thresholds set.
        data: Batches of images and labels; gone through once for each neuron.
        snn: The spiking network whose neurons are exchanged, where it is not the converted
            ``ann``: one fine-tuned from it.
        steps: The T to show; the longest is run.
        neurons: Which of :data:`NEURONS` to measure.
        compiled: Compile the networks, for long runs; see :meth:`SpikingNetwork.compile`.
        distributed: Add up over processes; see :func:`~snntorch_ecl.measurement.evaluate`.
        progress: Show progress bars.

    Returns:
        The comparison.

    Raises:
        ConfigError: ``steps`` is empty or below 1, or there is no such neuron.
        ThresholdUnsetError, NotPreparedError, DataError: As for convert and evaluate.

    Example:
        >>> import torch
        >>> from snntorch_ecl import ThresholdClip
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> data = [(torch.rand(6, 8), torch.tensor([0, 1, 0, 1, 0, 1]))]
        >>> found = ablate(ann, data, steps=(1, 4), neurons=("IF",), progress=False)
        >>> found.evaluations["IF"].num_steps
        4
    """
    shown = tuple(sorted(set(steps)))
    if not shown or shown[0] < 1:
        raise ConfigError(f"steps must be integers >= 1; got {list(steps)}")
    check_neurons(neurons)
    networks = variants(convert(ann) if snn is None else snn)
    evaluations = {
        name: evaluate(
            networks[name].compile(compiled),
            data,
            num_steps=shown[-1],
            ann=ann,
            distributed=distributed,
            progress=progress and f"evaluate {name}",
        )
        for name in neurons
    }
    return Ablation(shown, evaluations)
