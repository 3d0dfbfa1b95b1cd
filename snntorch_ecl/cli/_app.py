"""The app that gathers all commands; the demo is one of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from .._version import __version__
from ..experiments import DemoConfig, run_demo
from . import _commands as commands
from . import _commands_convert as commands_convert
from . import _commands_cost as commands_cost
from . import _commands_export as commands_export
from ._console import errors_as_text
from ._signals import signals_as_text

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,  # plain help is half as long: every command's fits a screen
)


def _version(show: bool) -> None:
    """Show the version and end."""
    if show:
        typer.echo(f"snntorch-ecl {__version__}")
        raise typer.Exit


@app.callback(epilog="\b\nExamples:\n  snntorch-ecl demo\n  snntorch-ecl evaluate --help")
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """From a PyTorch network to a spiking one that needs one to eight time steps."""


@app.command(epilog="\b\nExample:\n  snntorch-ecl demo --seed 1")
def demo(
    output_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the report, figures and network.")
    ] = Path("snntorch-ecl-demo"),
    levels: Annotated[
        int, typer.Option(metavar="L", help="Levels of the activations; compared at T = L.")
    ] = 8,
    seed: Annotated[
        int, typer.Option(metavar="N", help="The same seed gives the same figures.")
    ] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="One epoch only: shows that it works, not how well.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON, and nothing else.")
    ] = False,
) -> None:
    """Train on digits, convert, compare, and write a report."""
    console = Console()
    with errors_as_text(), signals_as_text(output_dir):
        config = DemoConfig(
            levels=levels,
            num_steps=max(levels, DemoConfig.num_steps),
            seed=seed,
            quick=quick,
            output_dir=output_dir,
        )
        result = run_demo(config, progress=not as_json)
    if as_json:
        typer.echo(result.figures.read_text(encoding="utf-8"))
        return
    console.print(result.table())
    for name, place in (
        ("Report ", result.report.resolve().as_uri()),
        ("Network", result.network),
        ("Figures", result.figures),
    ):
        console.print(escape(f"{name}  {place}"), soft_wrap=True, highlight=False)


for _module in (commands_convert, commands, commands_cost, commands_export):
    for _name in _module.__all__:
        _command = getattr(_module, _name)
        _epilog = f"\b\nExample:\n  snntorch-ecl {_command.example}"
        app.command(_name.replace("_", "-"), epilog=_epilog)(_command)
