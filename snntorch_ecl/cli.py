"""The command line: ``snntorch-ecl``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ._version import __version__
from .errors import ConfigError, EclError

__all__ = ["app"]

app = typer.Typer(
    help="From a PyTorch network to a spiking one that needs one to eight time steps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"snntorch-ecl {__version__}")
        raise typer.Exit


@contextmanager
def _errors_as_text() -> Iterator[None]:
    """The package's own errors are for people: text without a traceback, and exit status 1."""
    try:
        yield
    except EclError as error:
        Console(stderr=True).print("[bold red]Error:[/]", escape(str(error)), highlight=False)
        raise typer.Exit(1) from error


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """From a PyTorch network to a spiking one that needs one to eight time steps."""


@app.command()
def demo(
    output_dir: Annotated[
        Path, typer.Option(help="Folder for the report, the figures and the network.")
    ] = Path("snntorch-ecl-demo"),
    levels: Annotated[int, typer.Option(help="Levels L of the activations.")] = 4,
    seed: Annotated[int, typer.Option(help="The same seed gives the same figures.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="One epoch only: shows that it works, not how well.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON, and nothing else.")
    ] = False,
) -> None:
    """Train on 5,000 real digits, convert, compare both neurons, and write a report."""
    console = Console()
    with _errors_as_text():
        # Here, not at the top: `snntorch-ecl --help` need not wait for Lightning.
        from .demo import DemoConfig, run_demo

        config = DemoConfig(levels=levels, seed=seed, quick=quick, output_dir=output_dir)
        result = run_demo(config, progress=not as_json)
    if as_json:
        typer.echo(result.figures.read_text(encoding="utf-8"))
        return
    console.print(result.table())
    console.print(f"Report   {result.report.resolve().as_uri()}", soft_wrap=True, highlight=False)
    console.print(f"Network  {result.network}", soft_wrap=True, highlight=False)
    console.print(f"Figures  {result.figures}", soft_wrap=True, highlight=False)


@app.command()
def train(
    output_dir: Annotated[Path, typer.Option(help="Folder of the run.")],
    config: Annotated[
        Path | None, typer.Option(help="Settings: YAML, or the JSON of an earlier run.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe of the package, in place of --config.")
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder of the data.")] = None,
    levels: Annotated[int | None, typer.Option(help="Levels L of the activations.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and variation.")] = None,
    per_channel: Annotated[
        bool, typer.Option("--per-channel", help="One threshold a channel.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in the folder stopped.")
    ] = False,
    devices: Annotated[int, typer.Option(help="Processes on this machine.")] = 1,
    num_nodes: Annotated[int, typer.Option(help="Machines.")] = 1,
    accelerator: Annotated[str, typer.Option(help="cpu, gpu, mps, …, or auto.")] = "auto",
) -> None:
    """Train a network with clipped activations; it can be stopped and resumed at any time."""
    with _errors_as_text():
        from .config import ExperimentConfig, from_dict, load_config
        from .config import recipe as shipped
        from .experiment import run_training

        flags = _given(
            {"levels": levels, "seed": seed, "per_channel": per_channel or None},
            data=_given({"root": None if data_root is None else str(data_root)}),
            train=_given({"epochs": epochs, "seed": seed}),
        )
        if config is not None and recipe is not None:
            raise ConfigError("give --config or --recipe, not both")
        if recipe is not None:
            settings = shipped(recipe, flags)
        elif config is not None:
            settings = load_config(config, flags)
        else:
            settings = from_dict(ExperimentConfig, flags)
        path = run_training(
            settings,
            output_dir,
            resume=resume,
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
        )
    Console().print(f"Network  {path}", soft_wrap=True, highlight=False)


def _given(values: dict[str, Any], **nested: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given, as settings."""
    flat = {name: value for name, value in values.items() if value is not None}
    return {**flat, **{name: value for name, value in nested.items() if value}}


if __name__ == "__main__":
    app()
