"""The commands of the experiments: train, evaluate, ablate, sweep, finetune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ..experiments import (
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
from ..experiments import recipe as shipped_recipe
from ..settings import ExperimentConfig
from ..settings._reader import merged
from ._console import errors_as_text
from ._options import (
    Accelerator,
    Checkpoint,
    DataRoot,
    Devices,
    Epochs,
    Folder,
    Images,
    Nodes,
    Rate,
    Recipe,
    Resume,
    SettingsFile,
    Steps,
    Tuned,
    check_one_source,
    flags_given,
    measure_flags,
    root_flag,
    settings_from,
    show,
)

__all__ = ["train", "evaluate", "ablate", "sweep", "finetune"]  # noqa: RUF022 - as `--help` shows


def train(
    output_dir: Folder,
    config: SettingsFile = None,
    recipe: Recipe = None,
    data_root: DataRoot = None,
    levels: Annotated[int | None, typer.Option(help="Levels L of the activations.")] = None,
    epochs: Epochs = None,
    lr: Rate = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and variation.")] = None,
    per_channel: Annotated[
        bool, typer.Option("--per-channel", help="One threshold a channel.")
    ] = False,
    relu: Annotated[
        bool, typer.Option("--relu", help="Train the plain ReLU network, to start others from.")
    ] = False,
    weights: Annotated[
        Path | None, typer.Option(help="Start from this ann.safetensors of a ReLU network.")
    ] = None,
    resume: Resume = False,
    devices: Devices = 1,
    num_nodes: Nodes = 1,
    accelerator: Accelerator = "auto",
) -> None:
    """Train a network with clipped activations; it can be stopped and resumed at any time."""
    with errors_as_text():
        flags = flags_given(
            {
                "levels": levels,
                "seed": seed,
                "per_channel": per_channel or None,
                "relu": relu or None,
                "weights": None if weights is None else str(weights),
            },
            data=root_flag(data_root),
            train=flags_given({"epochs": epochs, "lr": lr, "seed": seed}),
        )
        check_one_source(config, recipe)
        settings = (
            settings_from(ExperimentConfig, config, flags)
            if recipe is None
            else shipped_recipe(recipe, flags)
        )
        path = run_training(
            settings,
            output_dir,
            resume=resume,
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
        )
    show(escape(f"Network  {path}"), soft_wrap=True, highlight=False)


def evaluate(
    output_dir: Folder,
    checkpoint: Checkpoint = None,
    tuned: Tuned = None,
    config: SettingsFile = None,
    data_root: DataRoot = None,
    steps: Steps = None,
    images: Images = None,
) -> None:
    """Convert a trained network and measure it at every number of steps."""
    with errors_as_text():
        settings = settings_from(
            MeasureConfig, config, measure_flags(checkpoint, data_root, steps, images, tuned)
        )
        result = run_evaluation(settings, output_dir)
    show(*result.tables())


def ablate(
    output_dir: Folder,
    checkpoint: Checkpoint = None,
    tuned: Tuned = None,
    config: SettingsFile = None,
    data_root: DataRoot = None,
    steps: Steps = None,
    images: Images = None,
    neurons: Annotated[
        list[str] | None, typer.Option("--neuron", help="A row to measure; repeat it. Else all.")
    ] = None,
) -> None:
    """Compare the dual threshold with IF, starts and negative thresholds, on one checkpoint."""
    with errors_as_text():
        flags = measure_flags(checkpoint, data_root, steps, images, tuned)
        rows = flags_given({"neurons": tuple(neurons) if neurons else None})
        result = run_ablation(settings_from(AblateConfig, config, {**flags, **rows}), output_dir)
    show(*result.tables())


def sweep(
    output_dir: Folder,
    config: SettingsFile = None,
    recipe: Recipe = None,
    data_root: DataRoot = None,
    levels: Annotated[
        list[int] | None, typer.Option("--levels", "-L", help="L to train; repeat it.")
    ] = None,
    steps: Steps = None,
    seeds: Annotated[int | None, typer.Option(help="How many seeds.")] = None,
    epochs: Epochs = None,
) -> None:
    """Train for each L and seed, measure at each T, show who wins; can be stopped and resumed."""
    with errors_as_text():
        check_one_source(config, recipe)
        root = flags_given(
            {}, data=flags_given({"root": None if data_root is None else str(data_root)})
        )
        experiment = {} if recipe is None else shipped_recipe(recipe, root).to_dict()
        flags = flags_given(
            {
                "levels": tuple(levels) if levels else None,
                "steps": tuple(steps) if steps else None,
                "seeds": seeds,
            },
            experiment=merged(experiment, flags_given(root, train=flags_given({"epochs": epochs}))),
        )
        result = run_sweep(settings_from(SweepConfig, config, flags), output_dir)
    show(*result.tables())


def finetune(
    output_dir: Folder,
    checkpoint: Checkpoint = None,
    config: SettingsFile = None,
    data_root: DataRoot = None,
    num_steps: Annotated[int | None, typer.Option(help="T to train at.")] = None,
    distillation: Annotated[
        float | None, typer.Option(help="Weight of the ANN's answers in the loss, 0 to 1.")
    ] = None,
    surrogate: Annotated[
        str | None, typer.Option(help="Gradient of a spike: triangular, rectangular or atan.")
    ] = None,
    teachers: Annotated[
        list[Path] | None,
        typer.Option("--teacher", help="Another ann.safetensors to learn from; repeat it."),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Folder of another fine-tuning to start from.")
    ] = None,
    epochs: Epochs = None,
    lr: Rate = None,
    steps: Steps = None,
    images: Images = None,
    resume: Resume = False,
    devices: Devices = 1,
    num_nodes: Nodes = 1,
    accelerator: Accelerator = "auto",
) -> None:
    """Fine-tune the converted network itself, through both thresholds."""
    with errors_as_text():
        flags = flags_given(
            {
                "num_steps": num_steps,
                "distillation": distillation,
                "surrogate": surrogate,
                "teachers": tuple(map(str, teachers)) if teachers else None,
                "start": None if start is None else str(start),
            },
            measure=measure_flags(checkpoint, data_root, steps, images),
            train=flags_given({"epochs": epochs, "lr": lr}),
        )
        result = run_tuning(
            settings_from(TuneConfig, config, flags),
            output_dir,
            resume=resume,
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
        )
    show(*result.tables())
