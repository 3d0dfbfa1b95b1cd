"""Ablations and sweeps: what each part of the neuron brings, and how L and T trade."""

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
from ..conversion._convert import convert
from ..errors import ConfigError
from ..measurement import Evaluation, accuracy_axes, evaluate
from ..network._network import SpikingNetwork, check_spiking

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
    """One network with each of :data:`NEURONS`.

    Args:
        snn: A converted network, or a fine-tuned one; it stays as it is.

    Returns:
        By name: the dual-threshold neuron, plain IF, each also from v(0) = 0, and the dual
        threshold at −θ/2 and −θ (of the smallest θ of a layer whose θ differ over channels).

    Raises:
        ConfigError: It is no spiking network.
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


@dataclass(frozen=True)
class Ablation(Result):
    """Neurons compared on one checkpoint.

    Attributes:
        steps: The T that are shown.
        evaluations: By neuron.
    """

    steps: tuple[int, ...]
    evaluations: Mapping[str, Evaluation]

    def rows(self) -> list[tuple[str, ...]]:
        """Accuracy in per cent: neuron, ANN, then each T."""
        return [
            (name, *map(percent, (e.ann_accuracy, *(e.accuracy[t - 1] for t in self.steps))))
            for name, e in self.evaluations.items()
        ]

    def table(self) -> Table:
        """A rich table."""
        samples = next(iter(self.evaluations.values())).samples
        columns = ("neuron", "ANN", *(f"T = {t}" for t in self.steps))
        return table(f"Accuracy on {samples:,} images, %", columns, self.rows())

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
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
    fused: bool = False,
    distributed: bool = False,
    progress: bool = True,
) -> Ablation:
    """Measure every neuron of :func:`variants` on one checkpoint.

    Args:
        ann: A prepared network with its thresholds set.
        data: Batches of images and labels; gone through once for each neuron.
        snn: The spiking network whose neurons are exchanged, where it is not the converted
            ``ann``: one fine-tuned from it.
        steps: The T to show; the longest is run.
        neurons: Which of :data:`NEURONS` to measure.
        fused: Compile the neurons, for long runs; see :meth:`SpikingNetwork.fuse`.
        distributed: Add up over processes; see :func:`~snntorch_ecl.measurement.evaluate`.
        progress: Show progress bars.

    Returns:
        The comparison.

    Raises:
        ConfigError: There is no T, or one below 1; or no such neuron.
        ThresholdUnsetError, NotPreparedError, DataError: As for convert and evaluate.
    """
    shown = tuple(sorted(set(steps)))
    if not shown or shown[0] < 1:
        raise ConfigError(f"steps must be integers >= 1; got {list(steps)}")
    check_neurons(neurons)
    networks = variants(convert(ann) if snn is None else snn)
    evaluations = {
        name: evaluate(
            networks[name].fuse(fused),
            data,
            num_steps=shown[-1],
            ann=ann,
            distributed=distributed,
            progress=progress,
        )
        for name in neurons
    }
    return Ablation(shown, evaluations)
