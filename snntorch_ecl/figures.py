"""Whole pictures: one for each kind of result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .optional import require
from .plot import LINES, NEGATIVE, POSITIVE, accuracy_axes, error_axes, new_figure, rate_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .curves import Curves
    from .early_exit import ExitCurve
    from .energy import Energy
    from .evaluate import Evaluation
    from .verify import Verification

__all__ = [
    "curves_figure",
    "energy_figure",
    "evaluation_figure",
    "exit_figure",
    "verification_figure",
]


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
    hues = (POSITIVE, LINES[1], NEGATIVE)
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
        (-0.2, cost.ann_joules, LINES[1], f"ANN, {1e6 * cost.ann_total:.3g} µJ"),
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
    axes.plot(steps, fixed, "s--", color=LINES[1], label="every image takes T steps")
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
