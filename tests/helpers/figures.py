"""What a picture shows, once it is drawn."""

from __future__ import annotations

import io

from matplotlib.axes import Axes


def legend(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def draws(axes: Axes) -> str:
    """Drawing for real finds what only a renderer meets."""
    buffer = io.StringIO()
    axes.figure.savefig(buffer, format="svg")
    return buffer.getvalue()
