"""The commands of the experiments: train, evaluate, ablate, sweep, finetune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from .._util.processes import is_main
from ..errors import ConfigError
from ._console import errors_as_text

Folder = Annotated[Path, typer.Option("--output-dir", help="Folder of the run.")]
Settings = Annotated[
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


def train(
    output_dir: Annotated[Path, typer.Option(help="Folder of the run.")],
    config: Annotated[
        Path | None, typer.Option(help="Settings: YAML, or the JSON of an earlier run.")
    ] = None,
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
        from ..experiments._recipes import recipe as shipped
        from ..experiments._training_run import run_training
        from ..settings._experiment import ExperimentConfig

        flags = given(
            {
                "levels": levels,
                "seed": seed,
                "per_channel": per_channel or None,
                "relu": relu or None,
                "weights": None if weights is None else str(weights),
            },
            data=given({"root": None if data_root is None else str(data_root)}),
            train=given({"epochs": epochs, "lr": lr, "seed": seed}),
        )
        if config is not None and recipe is not None:
            raise ConfigError("give --config or --recipe, not both")
        settings = (
            settings_from(ExperimentConfig, config, flags)
            if recipe is None
            else shipped(recipe, flags)
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


def show(*parts: Any, **options: Any) -> None:
    """Show results once, however many processes there are."""
    if is_main():
        Console().print(*parts, **options)


def given(values: dict[str, Any], **nested: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given, as settings."""
    flat = {name: value for name, value in values.items() if value is not None}
    return {**flat, **{name: value for name, value in nested.items() if value}}


def measured(
    checkpoint: Path | None,
    data_root: Path | None,
    steps: list[int] | None,
    images: int | None,
    tuned: Path | None = None,
) -> dict[str, Any]:
    """The flags of everything that measures a checkpoint, as settings."""
    return given(
        {
            "checkpoint": None if checkpoint is None else str(checkpoint),
            "tuned": None if tuned is None else str(tuned),
            "data_root": None if data_root is None else str(data_root),
            "steps": tuple(steps) if steps else None,
            "images": images,
        }
    )


def evaluate(
    output_dir: Folder,
    checkpoint: Checkpoint = None,
    tuned: Tuned = None,
    config: Settings = None,
    data_root: DataRoot = None,
    steps: Steps = None,
    images: Images = None,
) -> None:
    """Convert a trained network and measure it at every number of steps."""
    with errors_as_text():
        from ..experiments._measure import MeasureConfig, run_evaluation

        settings = settings_from(
            MeasureConfig, config, measured(checkpoint, data_root, steps, images, tuned)
        )
        result = run_evaluation(settings, output_dir)
    show(result.table(), result.layer_table())


def ablate(
    output_dir: Folder,
    checkpoint: Checkpoint = None,
    tuned: Tuned = None,
    config: Settings = None,
    data_root: DataRoot = None,
    steps: Steps = None,
    images: Images = None,
    neurons: Annotated[
        list[str] | None, typer.Option("--neuron", help="A row to measure; repeat it. Else all.")
    ] = None,
) -> None:
    """Compare the dual threshold with IF, starts and negative thresholds, on one checkpoint."""
    with errors_as_text():
        from ..experiments._measure import AblateConfig, run_ablation

        flags = measured(checkpoint, data_root, steps, images, tuned)
        rows = given({"neurons": tuple(neurons) if neurons else None})
        result = run_ablation(settings_from(AblateConfig, config, {**flags, **rows}), output_dir)
    show(result.table())


def sweep(
    output_dir: Folder,
    config: Settings = None,
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
        from ..experiments._recipes import recipe as shipped
        from ..experiments._sweep import SweepConfig, run_sweep
        from ..settings._reader import merged

        if config is not None and recipe is not None:
            raise ConfigError("give --config or --recipe, not both")
        root = given({}, data=given({"root": None if data_root is None else str(data_root)}))
        experiment = {} if recipe is None else shipped(recipe, root).to_dict()
        flags = given(
            {
                "levels": tuple(levels) if levels else None,
                "steps": tuple(steps) if steps else None,
                "seeds": seeds,
            },
            experiment=merged(experiment, given(root, train=given({"epochs": epochs}))),
        )
        result = run_sweep(settings_from(SweepConfig, config, flags), output_dir)
    show(result.table())


def finetune(
    output_dir: Folder,
    checkpoint: Checkpoint = None,
    config: Settings = None,
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
        from ..experiments._tuning import TuneConfig, run_tuning

        flags = given(
            {
                "num_steps": num_steps,
                "distillation": distillation,
                "surrogate": surrogate,
                "teachers": tuple(map(str, teachers)) if teachers else None,
                "start": None if start is None else str(start),
            },
            measure=measured(checkpoint, data_root, steps, images),
            train=given({"epochs": epochs, "lr": lr}),
        )
        result = run_tuning(
            settings_from(TuneConfig, config, flags),
            output_dir,
            resume=resume,
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
        )
    show(result.table())


def settings_from(kind: Any, file: Path | None, flags: dict[str, Any]) -> Any:
    """A config from a file with the flags laid over it, or from the flags alone."""
    from ..settings._reader import from_dict, load_config

    if file is None:
        return from_dict(kind, flags)
    return load_config(kind, file, flags)
