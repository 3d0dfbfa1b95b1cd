"""Drawing on given axes: accuracy over time, spike rasters, errors and rates per layer.

Nothing touches pyplot's global state. Whole pictures of results are in :mod:`.figures`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .optional import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from .ablation import Sweep
    from .evaluate import Evaluation

__all__ = [
    "LINES",
    "NEGATIVE",
    "POSITIVE",
    "accuracy_axes",
    "error_axes",
    "new_figure",
    "raster_axes",
    "rate_axes",
    "sweep_axes",
]

# Okabe and Ito's palette: told apart with any colour vision, and in print.
POSITIVE, NEGATIVE = "#0072B2", "#D55E00"
"""Colours of spikes, by their sign."""
LINES = ("#0072B2", "#767676", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours of lines, in their order; the second is grey."""

# Outside the axes: matplotlib's search for a free place inside takes long, and warns that it does.
_ABOVE: dict[str, Any] = {"frameon": False, "loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
_BESIDE: dict[str, Any] = {"frameon": False, "loc": "center left", "bbox_to_anchor": (1.0, 0.5)}


def new_figure(*, rows: int = 1, columns: int = 1, size: tuple[float, float]) -> tuple[Figure, Any]:
    """An empty figure in the package's style, apart from pyplot.

    Args:
        rows: Rows of axes.
        columns: Columns of axes.
        size: Width and height, in inches.

    Returns:
        The figure and its axes, as ``plt.subplots`` returns them.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figure = require("matplotlib.figure", extra="demo").Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns)
    for each in figure.axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def accuracy_axes(axes: Axes, evaluations: Mapping[str, Evaluation]) -> None:
    """Accuracy over time, one line for each neuron, and the ANN as a dashed line.

    Args:
        axes: Where to draw.
        evaluations: By label; the ANN is taken from the first that knows it.
    """
    longest = max(evaluation.num_steps for evaluation in evaluations.values())
    # Drawn last to first, so that the first, the main one, lies on top.
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
    place = _BESIDE if len(evaluations) > 3 else {**_ABOVE, "ncols": len(evaluations) + bool(known)}
    axes.legend(*(s[::-1] for s in axes.get_legend_handles_labels()), **place)


def raster_axes(axes: Axes, spikes: Tensor) -> None:
    """Spikes of one layer: a mark for each, +1 and −1 in colours of their own.

    Args:
        axes: Where to draw.
        spikes: ``[T, neurons]``; any scale, only the sign counts.

    Raises:
        InputError: The spikes are not two-dimensional.
    """
    if spikes.ndim != 2:
        raise InputError(f"a raster needs spikes [T, neurons]; got shape {list(spikes.shape)}")
    for sign, colour, name in ((1, POSITIVE, "+1"), (-1, NEGATIVE, "−1, taken back")):
        step, neuron = (spikes.sign() == sign).nonzero(as_tuple=True)
        label = f"{name} ({len(step):,})"
        axes.scatter(step + 1, neuron, s=18, marker="|", color=colour, linewidths=2, label=label)
    axes.set_xlim(0.5, spikes.shape[0] + 0.5)
    axes.set_xticks(range(1, spikes.shape[0] + 1, max(1, spikes.shape[0] // 16)))
    axes.set_xlabel("time step")
    axes.set_ylabel("neuron")
    axes.legend(**_ABOVE, ncols=2)


def error_axes(axes: Axes, evaluations: Mapping[str, Evaluation]) -> None:
    """Relative error of each layer's mean spike output against the ANN's activation.

    Args:
        axes: Where to draw.
        evaluations: By label; those without an ANN are left out.
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
    axes.legend(**_ABOVE, ncols=max(1, len(evaluations)))


def rate_axes(axes: Axes, evaluation: Evaluation) -> None:
    """Spikes per neuron and step of each layer, positive and negative ones apart.

    Args:
        axes: Where to draw.
        evaluation: Whose layers to draw.
    """
    names = [layer.name for layer in evaluation.layers]
    negative = [100 * layer.negative_rate for layer in evaluation.layers]
    positive = [100 * (layer.spike_rate - layer.negative_rate) for layer in evaluation.layers]
    axes.barh(names, positive, color=POSITIVE, label="+1", height=0.6)
    axes.barh(names, negative, left=positive, color=NEGATIVE, label="−1", height=0.6)
    axes.invert_yaxis()
    axes.set_xlabel("spikes per neuron and step, %")
    axes.grid(axis="x", alpha=0.25)
    axes.legend(**_ABOVE, ncols=2)


def sweep_axes(axes: Axes, sweep: Sweep) -> None:
    """Accuracy over T, one line for each L with its deviation, and the Pareto front.

    Args:
        axes: Where to draw.
        sweep: What to draw.
    """
    for levels in sweep.ann:
        points = sorted(
            (p for p in sweep.points if p.levels == levels), key=lambda point: point.num_steps
        )
        steps = [point.num_steps for point in points]
        means = [100 * point.mean for point in points]
        spreads = [100 * point.spread for point in points]
        axes.errorbar(
            steps, means, spreads, fmt="o-", markersize=4, capsize=2, label=f"L = {levels}"
        )
    front = sweep.front
    axes.plot(
        [point.num_steps for point in front],
        [100 * point.mean for point in front],
        "s",
        markersize=10,
        markerfacecolor="none",
        markeredgecolor="black",
        label="Pareto front",
    )
    axes.set_xscale("log", base=2)
    ticks = sorted({point.num_steps for point in sweep.points})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xlabel("time steps T")
    axes.set_ylabel("accuracy, %")
    # A deviation may reach beyond what an accuracy can be.
    axes.set_ylim(max(axes.get_ylim()[0], 0), min(axes.get_ylim()[1], 101))
    axes.grid(alpha=0.25)
    axes.legend(**_BESIDE)
