"""How the command line talks to people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from .._util.processes import is_main
from ..errors import EclError


@contextmanager
def errors_as_text() -> Iterator[None]:
    """Errors of the package, and of files, as text without a traceback; exit status 1."""
    try:
        yield
    except (EclError, OSError) as error:
        if isinstance(error, OSError) and error.filename is None:
            raise  # no file: not what a user did
        # Names of files may hold bytes that are no text.
        text = str(error).encode("utf-8", "backslashreplace").decode("utf-8")
        Console(stderr=True).print("[bold red]Error:[/]", escape(text), highlight=False)
        raise typer.Exit(1) from error


def show(*parts: Any, **options: Any) -> None:
    """Show results once, however many processes there are."""
    if is_main():
        Console().print(*parts, **options)
