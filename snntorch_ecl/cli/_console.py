"""How the command line talks to people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import EclError


@contextmanager
def errors_as_text() -> Iterator[None]:
    """The package's own errors are for people: text without a traceback, and exit status 1."""
    try:
        yield
    except EclError as error:
        Console(stderr=True).print("[bold red]Error:[/]", escape(str(error)), highlight=False)
        raise typer.Exit(1) from error
