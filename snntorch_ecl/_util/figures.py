"""Pictures in the package's style; nothing touches pyplot's global state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .optional import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ABOVE", "BESIDE", "LINES", "NEGATIVE", "POSITIVE", "new_figure"]

# Okabe and Ito's palette: told apart with any colour vision, and in print.
POSITIVE, NEGATIVE = "#0072B2", "#D55E00"
"""Colours of spikes, by their sign."""
LINES = ("#0072B2", "#767676", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours of lines, in their order; the second is grey."""

# Outside the axes: matplotlib's search for a free place inside takes long, and warns that it does.
ABOVE: dict[str, Any] = {"frameon": False, "loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
BESIDE: dict[str, Any] = {"frameon": False, "loc": "center left", "bbox_to_anchor": (1.0, 0.5)}


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
