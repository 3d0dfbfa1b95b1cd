"""A figure that a notebook shows by itself; it needs matplotlib as soon as it is imported."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class Picture(Figure):
    """A figure that knows its PNG: only with pyplot imported do notebooks know it for all."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()
