"""Pictures: accuracy over time, spike rasters with negative spikes, errors and rates per layer.

Each ``*_axes`` function draws on axes it is given; nothing touches pyplot's global state.
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
    from .curves import Curves
    from .early_exit import ExitCurve
    from .energy import Energy
    from .evaluate import Evaluation
    from .verify import Verification

__all__ = [
    "accuracy_axes",
    "curves_figure",
    "energy_figure",
    "error_axes",
    "evaluation_figure",
    "exit_figure",
    "new_figure",
    "raster_axes",
    "rate_axes",
    "sweep_axes",
    "verification_figure",
]

# Okabe and Ito's palette: told apart with any colour vision, and in print.
POSITIVE, NEGATIVE = "#0072B2", "#D55E00"
_LINES = ("#0072B2", "#767676", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


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
        colour = _LINES[index % len(_LINES)]
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
    # Many lines fill the axes; their names stand beside them.
    place: dict[str, Any] = (
        {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if len(evaluations) > 3 else {}
    )
    axes.legend(*(s[::-1] for s in axes.get_legend_handles_labels()), frameon=False, **place)


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
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=2)


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
        axes.plot(values, names, "o-", color=_LINES[index % len(_LINES)], label=label, markersize=5)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("relative error of the mean output, %")
    axes.grid(axis="x", alpha=0.25)
    axes.legend(frameon=False)


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
    axes.legend(frameon=False)


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
    axes.legend(frameon=False)


def evaluation_figure(evaluation: Evaluation, label: str = "SNN") -> Figure:
    """Accuracy over time, layer errors (if an ANN was given) and rates, side by side.

    Args:
        evaluation: What to draw.
        label: Name of its line.

    Returns:
        A matplotlib figure.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    compared = any(layer.error is not None for layer in evaluation.layers)
    height = max(3.2, 0.28 * len(evaluation.layers) + 1.2)
    figure, axes = new_figure(columns=3 if compared else 2, size=(13 if compared else 9, height))
    accuracy_axes(axes[0], {label: evaluation})
    rate_axes(axes[-1], evaluation)
    if compared:
        error_axes(axes[1], {label: evaluation})
    return figure


def curves_figure(curves: Curves) -> Figure:
    """Loss, accuracy and thresholds over the epochs, side by side.

    Args:
        curves: What to draw.

    Returns:
        The figure.
    """
    ticker = require("matplotlib.ticker", extra="demo")
    panels = [("training loss", {"": curves.loss})]
    if curves.accuracy:
        panels.append(("accuracy, %", {"": tuple(100 * value for value in curves.accuracy)}))
    if curves.thresholds:
        panels.append(("threshold λ of each layer", dict(curves.thresholds)))
    figure, _ = new_figure(columns=len(panels), size=(4.2 * len(panels), 3.4))
    for axes, (title, lines) in zip(figure.axes, panels, strict=True):
        for index, values in enumerate(lines.values()):
            # From the first layer, dark, to the last, light.
            shade = _layer_shade(index, len(lines))
            axes.plot(range(1, len(values) + 1), values, color=shade, linewidth=1.4)
        axes.set_title(title, fontsize=10)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        axes.set_xlabel("epoch" if len(lines) == 1 else "epoch (first layer dark, last light)")
        axes.grid(alpha=0.25)
    return figure


def _layer_shade(index: int, count: int) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"](0.85 * index / max(count - 1, 1))


def verification_figure(verification: Verification) -> Figure:
    """Error of each layer, and shares of exact, saturated and silent neurons.

    Args:
        verification: What to draw.

    Returns:
        The figure.
    """
    layers, worst = verification.layers, verification.worst
    names = [layer.name for layer in layers]
    size = (10.0, max(3.0, 0.26 * len(layers) + 1.2))
    figure, (left, right) = new_figure(columns=2, size=size)
    colours = [NEGATIVE if layer is worst else POSITIVE for layer in layers]
    left.barh(names, [100 * (layer.error or 0.0) for layer in layers], color=colours, height=0.6)
    left.set_xlabel("relative error of the mean output, %")
    left.set_title(f"it grows most in {worst.name}", fontsize=10, color=NEGATIVE)
    shares = ("exact", "saturated", "silent")
    hues = (POSITIVE, _LINES[1], NEGATIVE)
    for marker, colour, name in zip("osx", hues, shares, strict=True):
        values = [100 * getattr(layer, name) for layer in layers]
        right.plot(values, names, marker, color=colour, label=name)
    right.set_xlabel("share of neurons, %")
    right.set_xlim(-2, 102)
    right.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    left.invert_yaxis()
    right.set_ylim(left.get_ylim())  # the same rows on both sides
    right.set_yticks([])
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.25)
    return figure


def energy_figure(cost: Energy) -> Figure:
    """Energy of each layer with synapses, beside its ANN's.

    Args:
        cost: What to draw.

    Returns:
        The figure.
    """
    layers = [layer for layer in cost.layers if layer.ann_macs]
    figure, axes = new_figure(size=(7.0, max(3.0, 0.32 * len(layers) + 1.2)))
    for offset, joules, colour, label in (
        (-0.2, cost.ann_joules, _LINES[1], f"ANN, {1e6 * cost.ann_total:.3g} µJ"),
        (0.2, cost.joules, POSITIVE, f"SNN, T = {cost.num_steps}, {1e6 * cost.snn_total:.3g} µJ"),
    ):
        places = [index + offset for index in range(len(layers))]
        axes.barh(places, [1e6 * joules(la) for la in layers], 0.4, color=colour, label=label)
    axes.set_yticks(range(len(layers)), [layer.name for layer in layers])
    axes.invert_yaxis()
    axes.set_xlabel("µJ for one image")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    axes.grid(axis="x", alpha=0.25)
    return figure


def exit_figure(curve: ExitCurve) -> Figure:
    """Accuracy over the mean number of steps, with early exit and with fixed T.

    Args:
        curve: What to draw.

    Returns:
        The figure.
    """
    figure, axes = new_figure(size=(6.0, 3.8))
    steps = range(1, curve.max_steps + 1)
    fixed = [100 * accuracy for accuracy in curve.fixed]
    axes.plot(steps, fixed, "s--", color=_LINES[1], label="every image takes T steps")
    means, accuracies = (
        [point.mean_steps for point in curve.points],
        [100 * point.accuracy for point in curve.points],
    )
    axes.plot(means, accuracies, "o-", color=POSITIVE, label="each image stops when it is sure")
    for point in (curve.points[0], curve.points[-1]):
        axes.annotate(
            f"{point.confidence:g}", (point.mean_steps, 100 * point.accuracy),
            xytext=(0, 7), textcoords="offset points", ha="center", fontsize=9, color=POSITIVE,
        )  # fmt: skip
    axes.set_xlabel("mean number of steps")
    axes.set_ylabel("accuracy, %")
    axes.legend(frameon=False, loc="lower right")
    axes.grid(alpha=0.25)
    return figure
