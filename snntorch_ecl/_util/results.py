"""The base of all results: tables, plain data and a figure."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from .figures import as_image
from .tables import as_html, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Result"]


class Result:
    """Base of the frozen dataclasses that measurements return.

    ``print`` shows its tables; a notebook shows them as HTML, with the figure once matplotlib is
    imported; :meth:`to_dict` is for programs.
    """

    def table(self) -> Table:
        """The main figures as a table."""
        raise NotImplementedError

    def tables(self) -> tuple[Table, ...]:
        """All tables that ``print`` shows."""
        return (self.table(),)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        values: dict[str, Any] = asdict(self)  # type: ignore[call-overload]
        return values

    def plot(self) -> Figure:
        """Draw the result (needs matplotlib)."""
        raise NotImplementedError

    def __str__(self) -> str:
        return render(*self.tables())

    def _repr_html_(self) -> str:
        shown = as_html(*self.tables())
        if "matplotlib.figure" not in sys.modules:  # to import it for this would be slow
            return shown
        return shown + as_image(self.plot(), f"The figure of: {self.table().title}")
