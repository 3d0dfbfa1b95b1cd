"""One self-contained HTML page: words, tables, pictures and code, nothing loaded from elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from .._util.figures import LINES, NEGATIVE, POSITIVE
from .._util.files import remedy, replacing
from .._util.optional import require
from ..errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours of pictures that the page's style sheet chooses: another one in the dark and in print.
_STYLED = {
    "#000000": "ink",
    "#b0b0b0": "grid",
    POSITIVE: "plus",
    NEGATIVE: "minus",
    LINES[1]: "grey",
    "#ffffff": "paper",
}


@dataclass(frozen=True)
class Sheet:
    """A table: the first column is text, the others are numbers.

    Attributes:
        title: Heading.
        columns: Column names.
        rows: Cells, ready to show.
        note: What to know when reading it.
        marked: Index of a column to set off, or None.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    marked: int | None = None


@dataclass(frozen=True)
class Picture:
    """Figures side by side, or below each other on a narrow screen, with what they show.

    Attributes:
        title: Heading.
        figures: A matplotlib figure and its text alternative, once or more.
        caption: What to see.
    """

    title: str
    figures: Sequence[tuple[Figure, str]]
    caption: str


@dataclass(frozen=True)
class Words:
    """Paragraphs, and code below each.

    Attributes:
        title: Heading.
        parts: Pairs of a paragraph and Python code; either may be empty.
    """

    title: str
    parts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Report:
    """A page, from top to bottom.

    Attributes:
        title: Heading of the page.
        lead: What was done, in a sentence or two.
        key_figures: Pairs of a figure and what it is, shown large below the lead.
        parts: Tables, pictures and words in order.
        facts: Settings, versions and the like, shown small at the end.
    """

    title: str
    lead: str
    parts: Sequence[Sheet | Picture | Words]
    key_figures: Sequence[tuple[str, str]] = ()
    facts: Sequence[tuple[str, str]] = ()

    def write(self, path: str | Path) -> Path:
        """Write the page; a folder that is missing is made."""
        jinja2 = require("jinja2", extra="demo")
        source = resources.files(__package__).joinpath("templates/report.html").read_text("utf-8")
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        parts = [
            (type(part).__name__, part, _drawn(part, f"figure{index}"))
            for index, part in enumerate(self.parts)
        ]
        environment.filters["glue"] = _glue
        page = environment.from_string(source).render(report=self, parts=parts)
        path = Path(path)
        try:
            with replacing(path) as part:
                part.write_text(page, encoding="utf-8")
        except OSError as error:
            raise DataError(
                f"the report cannot be written to {path}: {error}{remedy(error)}"
            ) from error
        return path


def _glue(text: str) -> str:
    """Keep "T = 8" in one line."""
    return re.sub(r"\b([TL]) = (?=[TL0-9])", "\\1\u00a0=\u00a0", text)


def _drawn(part: Sheet | Picture | Words, prefix: str) -> list[tuple[str, str, float]]:
    """The figures of a picture as SVG elements, with text alternative and width in inches."""
    if not isinstance(part, Picture):
        return []
    return [
        (_svg(figure, f"{prefix}-{index}"), alternative, float(figure.get_figwidth()))
        for index, (figure, alternative) in enumerate(part.figures)
    ]


def _svg(figure: Figure, prefix: str) -> str:
    """A figure as an SVG element, with ids that no other figure of the page has."""
    matplotlib = require("matplotlib", extra="demo")
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": prefix, "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    # matplotlib names groups alike in every figure (figure_1, axes_1, …).
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    for colour, name in _STYLED.items():
        text = re.sub(rf"(fill|stroke): {colour}\b", rf"\1: var(--{name})", text, flags=re.I)
    return text[text.index("<svg") :]
