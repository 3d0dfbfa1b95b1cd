"""One self-contained HTML page: tables and pictures, nothing loaded from elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from .._util.optional import require
from ..errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Sheet:
    """A table: the first column is text, the others are numbers.

    Attributes:
        title: Heading.
        columns: Column names.
        rows: Cells, ready to show.
        note: What to know when reading it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure with what it shows.

    Attributes:
        title: Heading.
        figure: A matplotlib figure.
        caption: What it shows; also its text alternative.
    """

    title: str
    figure: Figure
    caption: str


@dataclass(frozen=True)
class Report:
    """A page, from top to bottom.

    Attributes:
        title: Heading of the page.
        lead: What was done, in a sentence or two.
        parts: Tables and pictures in order.
        facts: Settings, versions and the like, shown small at the end.
    """

    title: str
    lead: str
    parts: Sequence[Sheet | Picture]
    facts: Sequence[tuple[str, str]] = ()

    def write(self, path: str | Path) -> Path:
        """Write the page; a folder that is missing is made."""
        jinja2 = require("jinja2", extra="demo")
        source = resources.files(__package__).joinpath("templates/report.html").read_text("utf-8")
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        parts = [
            (part, _svg(part.figure, f"figure{index}") if isinstance(part, Picture) else None)
            for index, part in enumerate(self.parts)
        ]
        page = environment.from_string(source).render(report=self, parts=parts)
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page, encoding="utf-8")
        except OSError as error:
            raise DataError(f"the report cannot be written to {path}: {error}") from error
        return path


def _svg(figure: Figure, prefix: str) -> str:
    """A figure as an SVG element, with ids that no other figure of the page has."""
    matplotlib = require("matplotlib", extra="demo")
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": prefix, "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    # matplotlib names groups alike in every figure (figure_1, axes_1, …).
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    return text[text.index("<svg") :]
