"""The command for anybody's network: convert."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from ..errors import ConfigError
from ..experiments import ConversionConfig, run_conversion
from ._console import show
from ._groups import Folder, SettingsFile, command, given, settings_from

__all__ = ["convert"]


@dataclass(frozen=True)
class Conversion:
    """Which network to convert, with which images, and how."""

    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Your network: package.module:function, without arguments."
        ),
    ] = None
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="State dict: safetensors, or a file of torch.save."),
    ] = None
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Images; with a subfolder per class, accuracy is measured."
        ),
    ] = None
    num_steps: Annotated[
        int | None, typer.Option("--num-steps", "-T", metavar="T", help="Time steps. [default: 8]")
    ] = None
    budget: Annotated[
        str | None, typer.Option(metavar="NAME", help="fast, good or best. [default: good]")
    ] = None
    spike_sizes: Annotated[
        int | None,
        typer.Option(metavar="K", help="Spikes of K sizes, for graded-spike chips. [default: 1]"),
    ] = None
    signed: Annotated[
        bool,
        typer.Option("--signed", help="Signed spikes too, for networks without ReLU."),
    ] = False
    image_size: Annotated[
        int | None, typer.Option(metavar="N", help="Side of the input. [default: 224]")
    ] = None
    mean: Annotated[
        str | None,
        typer.Option(metavar="R,G,B", help="Mean of pixels in 0 … 1. [default: 0.485,0.456,0.406]"),
    ] = None
    std: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B", help="Their standard deviation. [default: 0.229,0.224,0.225]"
        ),
    ] = None
    calibration: Annotated[
        int | None, typer.Option(metavar="N", help="Images to calibrate with. [default: 256]")
    ] = None
    held_out: Annotated[
        int | None, typer.Option(metavar="N", help="Other images, to test with. [default: 256]")
    ] = None
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Images at a time. [default: 16]")
    ] = None
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of the choice of images. [default: 0]")
    ] = None

    def settings(self) -> dict[str, Any]:
        """The flags that were given."""
        flags = {field.name: getattr(self, field.name) for field in fields(self)}
        numbers = {name: _numbers(f"--{name}", flags[name]) for name in ("mean", "std")}
        return given(**{**flags, **numbers, "signed": self.signed or None})


@command("convert --model mynet:net --images photos --output-dir out")
def convert(output_dir: Folder, conversion: Conversion, config: SettingsFile = None) -> None:
    """Convert a trained network of your own, from unlabelled images.

    It writes network.safetensors, report.html and conversion.json.
    """
    settings = settings_from(ConversionConfig, config, conversion.settings())
    result = run_conversion(settings, output_dir)
    show(*result.tables())
    for name, place in (
        ("Report ", result.report.resolve().as_uri()),
        ("Network", str(result.network)),
    ):
        show(escape(f"{name}  {place}"), soft_wrap=True, highlight=False)
    show(f"\n{escape(result.code)}", soft_wrap=True, highlight=False)


def _numbers(option: str, text: str | None) -> list[float] | None:
    """Numbers between commas."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"{option} takes numbers between commas; got {text!r}") from error
