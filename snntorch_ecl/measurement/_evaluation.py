"""What ``evaluate`` returns, as tables and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.table import Table

from .._util.figures import ABOVE, BESIDE, LINES, NEGATIVE, POSITIVE, new_figure
from .._util.results import Result
from .._util.tables import percent, table
from ..network._layer import told

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LayerActivity:
    """Error and spike rates of one spiking layer, over all the data.

    Attributes:
        name: Qualified name.
        error: ``‖mean spike output − ANN activation‖ / ‖ANN activation‖`` after T steps; None
            without an ANN, or if all its activations are zero.
        spike_rate: Spikes of either sign per neuron and step.
        negative_rate: Negative spikes per neuron and step.
    """

    name: str
    error: float | None
    spike_rate: float
    negative_rate: float


@dataclass(frozen=True)
class Evaluation(Result):
    """The result of :func:`evaluate`. ``print`` it, take ``to_dict()``, or draw it.

    Attributes:
        samples: Number of images.
        num_steps: Number of time steps, T.
        accuracy: Share of images classified right at t = 1 … T.
        ann_accuracy: The same for the ANN; None if none was given.
        agreement: Share of images on which SNN and ANN choose the same class, at t = 1 … T.
        layers: Activity of each spiking layer over T steps.
        levels_per_step: Values that a spike can have, silence included.
        shown: T ≤ ``num_steps`` that the table shows beside 1, 2, 4, 8, … and the last.
    """

    samples: int
    num_steps: int
    accuracy: tuple[float, ...]
    ann_accuracy: float | None
    agreement: tuple[float, ...] | None
    layers: tuple[LayerActivity, ...]
    levels_per_step: int = 3
    shown: tuple[int, ...] = field(default=(), compare=False)

    def table(self) -> Table:
        """Accuracy and agreement in per cent, at T = 1, 2, 4, …, the last and ``shown``."""
        rows = []
        for steps in self._shown_steps():
            accuracy = self.accuracy[steps - 1]
            agreement = None if self.agreement is None else self.agreement[steps - 1]
            loss = None if self.ann_accuracy is None else accuracy - self.ann_accuracy
            rows.append((f"T = {steps}", percent(accuracy), percent(loss), percent(agreement)))
        if self.ann_accuracy is not None:
            rows.append(("ANN", percent(self.ann_accuracy), "–", "–"))
        title = f"Accuracy on {self.samples:,} images{told(self.levels_per_step)}, %"
        return table(title, ("steps", "accuracy", "against ANN", "agreement"), rows)

    def _shown_steps(self) -> list[int]:
        """The T of the table."""
        powers = (2**power for power in range(self.num_steps.bit_length()))
        return sorted({*powers, *self.shown, self.num_steps})

    def layer_table(self) -> Table:
        """Error and rates of each layer."""
        return table(
            f"Spiking layers over T = {self.num_steps}{told(self.levels_per_step)}, %",
            ("layer", "error", "spikes / step", "negative / step"),
            [
                (la.name, percent(la.error), percent(la.spike_rate), percent(la.negative_rate))
                for la in self.layers
            ],
            note="The ANN's activation has L levels: at other T part of the error is rounding.",
        )

    def tables(self) -> tuple[Table, ...]:
        """Accuracy over time, and the layers."""
        return self.table(), self.layer_table()

    def plot(self) -> Figure:
        """Accuracy over time, error and rates per layer, in one figure (needs matplotlib)."""
        compared = any(layer.error is not None for layer in self.layers)
        height = max(3.2, 0.28 * len(self.layers) + 1.2)
        size = (13 if compared else 9, height)
        figure, axes = new_figure(columns=3 if compared else 2, size=size)
        accuracy_axes(axes[0], {"SNN": self})
        rate_axes(axes[-1], self)
        if compared:
            error_axes(axes[1], {"SNN": self})
        return figure


def accuracy_axes(axes: Axes, evaluations: Mapping[str, Evaluation]) -> None:
    """Draw accuracy over time, a line for each evaluation, and the ANN's as a dashed line.

    Args:
        axes: The matplotlib axes to draw on.
        evaluations: Evaluations by label. The ANN's accuracy is taken from the first that has it.

    Example:
        >>> from matplotlib.figure import Figure
        >>> result = Evaluation(100, 2, (0.90, 0.95), 0.96, None, ())
        >>> axes = Figure().subplots()
        >>> accuracy_axes(axes, {"dual threshold": result})
        >>> [line.get_label() for line in axes.lines]
        ['dual threshold', 'ANN']
    """
    longest = max(evaluation.num_steps for evaluation in evaluations.values())
    # Drawn from last to first, so that the first one is on top.
    for index, (label, evaluation) in reversed(list(enumerate(evaluations.items()))):
        steps = range(1, evaluation.num_steps + 1)
        values = [100 * accuracy for accuracy in evaluation.accuracy]
        colour = LINES[index % len(LINES)]
        axes.plot(steps, values, "o-", color=colour, label=label, markersize=4, linewidth=1.8)
    known = [e.ann_accuracy for e in evaluations.values() if e.ann_accuracy is not None]
    if known:
        axes.axhline(100 * known[0], color="black", linestyle="--", linewidth=1, label="ANN")
    axes.set_xscale("log", base=2)
    ticks = [2**power for power in range(longest.bit_length())]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xlabel("time steps T")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.25)
    place = BESIDE if len(evaluations) > 3 else {**ABOVE, "ncols": len(evaluations) + bool(known)}
    axes.legend(*(s[::-1] for s in axes.get_legend_handles_labels()), **place)


def error_axes(axes: Axes, evaluations: Mapping[str, Evaluation]) -> None:
    """Draw the relative error of each layer's mean spike output against the ANN's activation.

    Args:
        axes: The matplotlib axes to draw on.
        evaluations: Evaluations by label. Layers without an error are left out.

    Example:
        >>> from matplotlib.figure import Figure
        >>> layer = LayerActivity("relu", error=0.1, spike_rate=0.3, negative_rate=0.05)
        >>> axes = Figure().subplots()
        >>> error_axes(axes, {"SNN": Evaluation(100, 1, (0.9,), 0.96, (0.9,), (layer,))})
        >>> axes.lines[0].get_xdata().tolist()  # per cent
        [10.0]
    """
    for index, (label, evaluation) in enumerate(evaluations.items()):
        layers = [layer for layer in evaluation.layers if layer.error is not None]
        values = [100 * layer.error for layer in layers if layer.error is not None]
        names = [layer.name for layer in layers]
        axes.plot(values, names, "o-", color=LINES[index % len(LINES)], label=label, markersize=5)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("relative error of the mean output, %")
    axes.grid(axis="x", alpha=0.25)
    axes.legend(**ABOVE, ncols=max(1, len(evaluations)))


def rate_axes(axes: Axes, evaluation: Evaluation) -> None:
    """Draw the spikes per neuron and step of each layer, positive and negative ones separately.

    Args:
        axes: The matplotlib axes to draw on.
        evaluation: The evaluation whose layers to draw.

    Example:
        >>> from matplotlib.figure import Figure
        >>> layer = LayerActivity("relu", error=None, spike_rate=0.3, negative_rate=0.05)
        >>> axes = Figure().subplots()
        >>> rate_axes(axes, Evaluation(100, 1, (0.9,), None, None, (layer,)))
        >>> [round(bar.get_width()) for bar in axes.patches]  # per cent: +1, then −1
        [25, 5]
    """
    names = [layer.name for layer in evaluation.layers]
    negative = [100 * layer.negative_rate for layer in evaluation.layers]
    positive = [100 * (layer.spike_rate - layer.negative_rate) for layer in evaluation.layers]
    axes.barh(names, positive, color=POSITIVE, label="+1", height=0.6)
    axes.barh(names, negative, left=positive, color=NEGATIVE, label="−1", height=0.6)
    axes.invert_yaxis()
    axes.set_xlabel("spikes per neuron and step, %")
    axes.grid(axis="x", alpha=0.25)
    axes.legend(**ABOVE, ncols=2)
