"""The commands of the experiments: train, evaluate, ablate, sweep, finetune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ..experiments import (
    NEURONS,
    AblateConfig,
    MeasureConfig,
    SweepConfig,
    TuneConfig,
    run_ablation,
    run_evaluation,
    run_sweep,
    run_training,
    run_tuning,
)
from ..settings import ExperimentConfig
from ._console import show
from ._groups import (
    Experiment,
    Folder,
    Measured,
    SettingsFile,
    Trained,
    Tuned,
    command,
    given,
    settings_from,
)

__all__ = ["train", "evaluate", "ablate", "sweep", "finetune"]  # noqa: RUF022 - as `--help` shows

EvaluatedSteps = Annotated[
    list[int] | None,
    typer.Option(
        "--steps", "-T", metavar="T", help="Time steps; repeatable. [default: 1, 2, 4, …, 32]"
    ),
]


@command("train --recipe digits --epochs 3 --output-dir out")
def train(
    output_dir: Folder,
    experiment: Experiment,
    levels: Annotated[
        int | None,
        typer.Option(metavar="L", help="Levels L of the activations. [default: 4]"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Seed of weights, order and augmentation. [default: 0]"),
    ] = None,
    per_channel: Annotated[
        bool, typer.Option("--per-channel", help="One threshold for each channel.")
    ] = False,
    relu: Annotated[
        bool, typer.Option("--relu", help="Train the plain ReLU network, as a start for others.")
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Start from this ann.safetensors, or shipped NAME."),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Learn from the answers of this one too, as --weights."),
    ] = None,
    distillation: Annotated[
        float | None,
        typer.Option(metavar="X", help="Share of its answers in the loss. [default: 0.7]"),
    ] = None,
    *,
    trained: Trained,
) -> None:
    """Train a network with clipped activations.

    It writes ann.safetensors. To continue an interrupted run, add --resume.
    """
    flags = given(
        levels=levels,
        seed=seed,
        per_channel=per_channel or None,
        relu=relu or None,
        weights=weights,
        teacher=teacher,
        distillation=distillation,
        train={**trained.recipe(), **given(seed=seed)},
    )
    settings = settings_from(ExperimentConfig, experiment.config, experiment.settings(flags))
    path = run_training(settings, output_dir, **trained.place())
    show(escape(f"Network  {path}"), soft_wrap=True, highlight=False)


@command("evaluate --pretrained digitnet-digits-l4 -T 4 --output-dir out")
def evaluate(
    output_dir: Folder,
    measured: Tuned,
    config: SettingsFile = None,
    steps: EvaluatedSteps = None,
) -> None:
    """Convert a trained network and measure its accuracy over T.

    One run of the largest T gives all smaller ones; evaluation.json holds every T.
    """
    flags = {**measured.settings(), **given(steps=steps)}
    result = run_evaluation(settings_from(MeasureConfig, config, flags), output_dir)
    show(*result.tables())


@command("ablate --pretrained digitnet-digits-l4 -T 4 --output-dir out")
def ablate(
    output_dir: Folder,
    measured: Tuned,
    config: SettingsFile = None,
    steps: EvaluatedSteps = None,
    neurons: Annotated[
        list[str] | None,
        typer.Option(
            "--neuron",
            metavar="NAME",
            help="Repeatable: "
            + ", ".join(f'"{n}"' if " " in n else n for n in NEURONS)
            + ". [default: all]",
        ),
    ] = None,
) -> None:
    """Compare dual threshold, IF and variants on one checkpoint."""
    flags = {**measured.settings(), **given(steps=steps, neurons=neurons)}
    show(*run_ablation(settings_from(AblateConfig, config, flags), output_dir).tables())


@command("sweep -L 2 -L 4 -T 2 -T 4 --seeds 1 --output-dir out")
def sweep(
    output_dir: Folder,
    experiment: Experiment,
    levels: Annotated[
        list[int] | None,
        typer.Option(
            "--levels",
            "-L",
            metavar="L",
            help="Levels to train; repeatable. [default: 2, 4, …, 32]",
        ),
    ] = None,
    steps: EvaluatedSteps = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="How many seeds. [default: 3]")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Passes over the data. [default: the recipe's]")
    ] = None,
) -> None:
    """Train for each L and seed, and measure at each T.

    If it is interrupted, the same command continues it.
    """
    inner = experiment.settings(given(train=given(epochs=epochs)))
    flags = given(levels=levels, steps=steps, seeds=seeds, experiment=inner)
    config = settings_from(SweepConfig, experiment.config, flags)
    show(*run_sweep(config, output_dir).tables())


@command("finetune --pretrained digitnet-digits-l4 -T 1 --output-dir out")
def finetune(
    output_dir: Folder,
    measured: Measured,
    config: SettingsFile = None,
    num_steps: Annotated[
        int | None,
        typer.Option("--num-steps", "-T", metavar="T", help="Time steps to train at. [default: 2]"),
    ] = None,
    steps: Annotated[
        list[int] | None,
        typer.Option(
            "--steps", metavar="T", help="T to measure; repeatable. [default: 1, 2, 4, …, 32]"
        ),
    ] = None,
    distillation: Annotated[
        float | None,
        typer.Option(metavar="X", help="Share of the ANN's answers in the loss. [default: 0.7]"),
    ] = None,
    surrogate: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Surrogate gradient: triangular, rectangular, atan. [default: triangular]",
        ),
    ] = None,
    teachers: Annotated[
        list[Path] | None,
        typer.Option(
            "--teacher",
            metavar="FILE",
            help="Learn from this ANN (or shipped NAME) too; repeatable.",
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Start from the network of this `finetune` run."),
    ] = None,
    *,
    trained: Trained,
) -> None:
    """Fine-tune the converted network itself at one T."""
    flags = given(
        num_steps=num_steps,
        distillation=distillation,
        surrogate=surrogate,
        teachers=None if teachers is None else [str(path) for path in teachers],
        start=start,
        train=trained.recipe(),
    )
    flags["measure"] = {**measured.settings(), **given(steps=steps)}
    settings = settings_from(TuneConfig, config, flags)
    show(f"Fine-tuning {escape(settings.measure.network)} at T = {settings.num_steps}")
    show(*run_tuning(settings, output_dir, **trained.place()).tables())
