"""Figures in the package's style, without pyplot and its global state."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

from .optional import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ABOVE", "BESIDE", "LINES", "NEGATIVE", "POSITIVE", "as_image", "new_figure"]

# Okabe and Ito's palette: distinguishable with any colour vision, and in print.
POSITIVE, NEGATIVE = "#0072B2", "#D55E00"
"""Colours of spikes, by their sign."""
LINES = ("#0072B2", "#767676", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours of lines, in their order; the second is grey."""

# Outside the axes: matplotlib's search for a free place inside is slow, and warns about it.
ABOVE: dict[str, Any] = {"frameon": False, "loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
BESIDE: dict[str, Any] = {"frameon": False, "loc": "center left", "bbox_to_anchor": (1.0, 0.5)}


def new_figure(*, rows: int = 1, columns: int = 1, size: tuple[float, float]) -> tuple[Figure, Any]:
    """An empty figure of a size in inches, and its axes, as ``plt.subplots`` returns them."""
    require("matplotlib.figure", extra="demo")
    from ._picture import Picture

    figure = Picture(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns)
    for each in figure.axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def as_image(figure: Figure, description: str) -> str:
    """A figure as HTML, for a notebook."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    data = base64.b64encode(buffer.getvalue()).decode()
    text = html.escape(description)
    return f'<img alt="{text}" style="max-width: 100%" src="data:image/png;base64,{data}">'
