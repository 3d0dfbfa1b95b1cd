"""What the commands share: their options, and how flags become settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from .._util.processes import is_main
from ..errors import ConfigError
from ..settings import from_dict, load_config

T = TypeVar("T")

Folder = Annotated[Path, typer.Option("--output-dir", help="Folder of the run.")]
SettingsFile = Annotated[
    Path | None, typer.Option("--config", help="Settings: YAML, or the JSON of an earlier run.")
]
Checkpoint = Annotated[Path | None, typer.Option(help="An ann.safetensors of `train`.")]
Tuned = Annotated[
    Path | None, typer.Option(help="Folder of a `finetune` of it, whose network is measured.")
]
Recipe = Annotated[str | None, typer.Option(help="A recipe of the package, in place of --config.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of the data.")]
Steps = Annotated[list[int] | None, typer.Option("--steps", "-T", help="T to show; repeat it.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on where the run in the folder stopped.")
]
Devices = Annotated[int, typer.Option(help="Processes on this machine.")]
Nodes = Annotated[int, typer.Option(help="Machines.")]
Accelerator = Annotated[str, typer.Option(help="cpu, gpu, mps, …, or auto.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the data.")]
Rate = Annotated[float | None, typer.Option(help="Learning rate at the start.")]
Images = Annotated[int | None, typer.Option(help="How many test images; 0 for all.")]


def flags_given(values: dict[str, Any], **nested: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given, as settings."""
    flat = {name: value for name, value in values.items() if value is not None}
    return {**flat, **{name: value for name, value in nested.items() if value}}


def measure_flags(
    checkpoint: Path | None,
    data_root: Path | None,
    steps: list[int] | None,
    images: int | None,
    tuned: Path | None = None,
) -> dict[str, Any]:
    """The flags of everything that measures a checkpoint, as settings."""
    return flags_given(
        {
            "checkpoint": None if checkpoint is None else str(checkpoint),
            "tuned": None if tuned is None else str(tuned),
            "data_root": None if data_root is None else str(data_root),
            "steps": tuple(steps) if steps else None,
            "images": images,
        }
    )


def root_flag(data_root: Path | None) -> dict[str, Any]:
    """The flag of the data's folder, as a setting of the data."""
    return {} if data_root is None else {"root": str(data_root)}


def check_one_source(config: Path | None, recipe: str | None) -> None:
    """Refuse settings from two places."""
    if config is not None and recipe is not None:
        raise ConfigError("give --config or --recipe, not both")


def settings_from(kind: type[T], file: Path | None, flags: dict[str, Any]) -> T:
    """A config from a file with the flags laid over it, or from the flags alone."""
    return from_dict(kind, flags) if file is None else load_config(kind, file, flags)


def show(*parts: Any, **options: Any) -> None:
    """Show results once, however many processes there are."""
    if is_main():
        Console().print(*parts, **options)
