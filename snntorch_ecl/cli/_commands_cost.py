"""The commands about cost: energy, early-exit, bench."""

from __future__ import annotations

from typing import Annotated

import typer

from ..experiments import (
    BenchConfig,
    EnergyConfig,
    ExitConfig,
    run_bench,
    run_early_exit,
    run_energy,
)
from ._console import show
from ._groups import Folder, SettingsFile, Tuned, command, given, settings_from

__all__ = ["energy", "early_exit", "bench"]  # noqa: RUF022 - as `--help` shows


@command("energy --pretrained digitnet-digits-l4 -T 4 --output-dir out")
def energy(
    output_dir: Folder,
    measured: Tuned,
    config: SettingsFile = None,
    num_steps: Annotated[
        int | None,
        typer.Option("--num-steps", "-T", metavar="T", help="Time steps. [default: 4]"),
    ] = None,
    negative_threshold: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="θ′ of all neurons; -inf for plain IF. [default: the network's]"
        ),
    ] = None,
) -> None:
    """Count operations, and estimate their energy on a chip."""
    flags = given(
        steps=None if num_steps is None else [num_steps], negative_threshold=negative_threshold
    )
    settings = settings_from(EnergyConfig, config, {**measured.settings(), **flags})
    show(*run_energy(settings, output_dir).tables())


@command("early-exit --pretrained digitnet-digits-l4 --output-dir out")
def early_exit(
    output_dir: Folder,
    measured: Tuned,
    config: SettingsFile = None,
    num_steps: Annotated[
        int | None,
        typer.Option(
            "--num-steps",
            "-T",
            metavar="T",
            help="Time steps after which every image stops. [default: 8]",
        ),
    ] = None,
    confidences: Annotated[
        list[float] | None,
        typer.Option(
            "--confidence",
            metavar="X",
            help="Probability at which to stop; repeatable. [default: 0.5 to 0.999]",
        ),
    ] = None,
    min_steps: Annotated[
        int | None,
        typer.Option(metavar="T", help="No image stops before this step. [default: 2]"),
    ] = None,
) -> None:
    """Stop each image when the network is sure."""
    flags = given(
        steps=None if num_steps is None else [num_steps],
        confidences=confidences,
        min_steps=min_steps,
    )
    settings = settings_from(ExitConfig, config, {**measured.settings(), **flags})
    show(*run_early_exit(settings, output_dir).tables())


@command("bench --model resnet20 -T 4 --output-dir out")
def bench(
    output_dir: Folder,
    config: SettingsFile = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="digit_net, resnet18, resnet20, resnet34, vgg16, torchvision/NAME; "
            "repeatable. [default: resnet18, vgg16]",
        ),
    ] = None,
    steps: Annotated[
        list[int] | None,
        typer.Option(
            "--steps", "-T", metavar="T", help="Time steps; repeatable. [default: 1, 2, 4, 8]"
        ),
    ] = None,
    batch_sizes: Annotated[
        list[int] | None,
        typer.Option(
            "--batch-size", metavar="B", help="Images at a time; repeatable. [default: 1, 32]"
        ),
    ] = None,
    image_sizes: Annotated[
        list[int] | None,
        typer.Option(
            "--image-size", metavar="PIXELS", help="Of the images; repeatable. [default: 32]"
        ),
    ] = None,
    forms: Annotated[
        list[str] | None,
        typer.Option(
            "--form",
            metavar="FORM",
            help="float32 or bfloat16, alone or with ' channels-last'; repeatable. "
            "[default: float32]",
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(metavar="N", help="Rounds; medians are taken. [default: 7]"),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", help="CPU threads. [default: torch's]"),
    ] = None,
) -> None:
    """Time inference, as a multiple of T runs of the ANN."""
    flags = given(
        models=models,
        steps=steps,
        batch_sizes=batch_sizes,
        image_sizes=image_sizes,
        forms=forms,
        repeats=repeats,
        threads=threads,
    )
    show(*run_bench(settings_from(BenchConfig, config, flags), output_dir).tables())
