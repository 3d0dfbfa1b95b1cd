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
from ._console import errors_as_text
from ._options import (
    Checkpoint,
    DataRoot,
    Folder,
    Images,
    SettingsFile,
    Steps,
    Tuned,
    flags_given,
    measure_flags,
    settings_from,
    show,
)

__all__ = ["energy", "early_exit", "bench"]  # noqa: RUF022 - as `--help` shows


def energy(
    output_dir: Folder,
    checkpoint: Checkpoint = None,
    tuned: Tuned = None,
    config: SettingsFile = None,
    data_root: DataRoot = None,
    num_steps: Annotated[
        int | None, typer.Option("--num-steps", "-T", help="Time steps T.")
    ] = None,
    images: Images = None,
    negative_threshold: Annotated[
        float | None,
        typer.Option(help="θ′ of all neurons, -inf for plain IF; else the network's own."),
    ] = None,
) -> None:
    """Count operations that spikes trigger, and what they would cost on a chip."""
    with errors_as_text():
        steps = None if num_steps is None else [num_steps]
        flags = {
            **measure_flags(checkpoint, data_root, steps, images, tuned),
            **flags_given({"negative_threshold": negative_threshold}),
        }
        result = run_energy(settings_from(EnergyConfig, config, flags), output_dir)
    show(*result.tables())


def early_exit(
    output_dir: Folder,
    checkpoint: Checkpoint = None,
    tuned: Tuned = None,
    config: SettingsFile = None,
    data_root: DataRoot = None,
    num_steps: Annotated[
        int | None, typer.Option("--num-steps", "-T", help="T after which every image stops.")
    ] = None,
    images: Images = None,
    confidences: Annotated[
        list[float] | None,
        typer.Option("--confidence", help="Probability at which an image stops; repeat it."),
    ] = None,
    min_steps: Annotated[int | None, typer.Option(help="No image stops before.")] = None,
) -> None:
    """Stop each image when the network is sure: accuracy against mean T."""
    with errors_as_text():
        steps = None if num_steps is None else [num_steps]
        flags = {
            **measure_flags(checkpoint, data_root, steps, images, tuned),
            **flags_given(
                {
                    "confidences": tuple(confidences) if confidences else None,
                    "min_steps": min_steps,
                }
            ),
        }
        result = run_early_exit(settings_from(ExitConfig, config, flags), output_dir)
    show(*result.tables())


def bench(
    output_dir: Folder,
    config: SettingsFile = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="Network to time; repeat it.")
    ] = None,
    steps: Steps = None,
    batch_sizes: Annotated[
        list[int] | None, typer.Option("--batch-size", help="B to time; repeat it.")
    ] = None,
    repeats: Annotated[int | None, typer.Option(help="Rounds; medians are taken.")] = None,
    threads: Annotated[int | None, typer.Option(help="Of the processor; 0 keeps torch's.")] = None,
) -> None:
    """Time inference on this machine, as a multiple of what T runs of the ANN take."""
    with errors_as_text():
        flags = flags_given(
            {
                "models": tuple(models) if models else None,
                "steps": tuple(steps) if steps else None,
                "batch_sizes": tuple(batch_sizes) if batch_sizes else None,
                "repeats": repeats,
                "threads": threads,
            }
        )
        result = run_bench(settings_from(BenchConfig, config, flags), output_dir)
    show(*result.tables())
