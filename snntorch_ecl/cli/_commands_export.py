"""The command about chips: export."""

from __future__ import annotations

from typing import Annotated

import typer

from ..experiments import ExportConfig, limits_names, run_export
from ._console import show
from ._groups import Folder, SettingsFile, Tuned, command, given, settings_from

__all__ = ["export"]


@command("export --pretrained digitnet-digits-l4 --target settle --output-dir out")
def export(
    output_dir: Folder,
    measured: Tuned,
    config: SettingsFile = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="nir, integers, two-channels or settle. [default: integers]"
        ),
    ] = None,
    num_steps: Annotated[
        int | None, typer.Option("--num-steps", "-T", metavar="T", help="Time steps. [default: 4]")
    ] = None,
    weight_bits: Annotated[
        int | None, typer.Option(metavar="N", help="Size of a weight. [default: 8]")
    ] = None,
    membrane_bits: Annotated[
        int | None, typer.Option(metavar="N", help="Size of a membrane. [default: 24]")
    ] = None,
    limits: Annotated[
        str | None,
        typer.Option(
            metavar="CHIP", help=f"Check a chip's limits: {', '.join(limits_names())}, or a file."
        ),
    ] = None,
) -> None:
    """Write a network for a chip, with a manifest of what it needs."""
    flags = given(
        target=target,
        steps=None if num_steps is None else [num_steps],
        weight_bits=weight_bits,
        membrane_bits=membrane_bits,
        limits=limits,
    )
    settings = settings_from(ExportConfig, config, {**measured.settings(), **flags})
    show(*run_export(settings, output_dir).tables())
