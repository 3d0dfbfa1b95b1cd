"""Draw the tables of results, as text and as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, note: str | None = None
) -> Table:
    """A table whose first column is text and whose others are numbers, with a note below."""
    made = Table(title=escape(title), title_justify="left", title_style="bold")
    made.caption, made.caption_justify = note, "left"
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        made.add_row(*map(escape, row))  # rich would interpret brackets in names
    return made


def render(*tables: Table) -> str:
    """Tables as plain text, for ``str()`` and ``print``."""
    # In a notebook, rich would also display what is captured.
    console = Console(width=80, color_system=None, force_terminal=False, force_jupyter=False)
    with console.capture() as capture:
        for each in tables:
            console.print(each)
    return capture.get().rstrip()


def as_html(*tables: Table) -> str:
    """Tables for a notebook."""
    return "".join(map(_html_table, tables))


def _html_table(table_: Table) -> str:
    def cell(tag: str, content: Any, column: Any) -> str:
        text = html.escape(Text.from_markup(str(content)).plain)
        return f'<{tag} style="text-align: {column.justify}">{text}</{tag}>'

    columns = table_.columns
    head = "".join(cell("th", column.header, column) for column in columns)
    rows = zip(*(column.cells for column in columns), strict=True)
    body = "".join(
        f"<tr>{''.join(cell('td', value, c) for value, c in zip(row, columns, strict=True))}</tr>"
        for row in rows
    )
    title = f"<caption>{html.escape(Text.from_markup(str(table_.title)).plain)}</caption>"
    note = f"<p>{html.escape(str(table_.caption))}</p>" if table_.caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def percent(share: float | None, digits: int = 2) -> str:
    """A share in per cent; a dash if it is unknown."""
    return "–" if share is None else f"{100 * share:.{digits}f}"
