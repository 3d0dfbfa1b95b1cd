"""Training as a run: settings in; a network, its curves and all that repeats it out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .._util.processes import is_main, joined, main_first
from .._util.rng import own_random_numbers
from ..models import save_ann
from ..models._checkpoint import initial_ann
from ..nn._threshold_clip import clips_of
from ..settings import ExperimentConfig
from ..training import Teacher, fit
from ._curves import read_curves
from ._data import load_data
from ._files import check_processes, versions_and_machine, write_result
from ._folder import run_folder
from ._teachers import teachers_from


def run_training(
    config: ExperimentConfig,
    output_dir: Path,
    *,
    resume: bool = False,
    accelerator: str = "auto",
    devices: int = 1,
    num_nodes: int = 1,
    progress: bool = True,
) -> Path:
    """Train a network and write it to ``output_dir/ann.safetensors``.

    Args:
        config: The experiment.
        output_dir: Folder of the run.
        resume: Go on where an interrupted run of the same settings stopped.
        accelerator: Lightning's name of the device.
        devices: Processes on this machine.
        num_nodes: Machines.
        progress: Show a progress bar.

    Returns:
        Path of the trained network.

    Raises:
        ConfigError: The folder holds a run and ``resume`` is off, or one of other settings.
        DataError, CheckpointError, StateError: The data or a file cannot be used, or the training
            diverged.

    Example:
        >>> from snntorch_ecl.experiments import recipe
        >>> run_training(recipe("digits"), Path("runs/digits"))  # doctest: +SKIP
    """
    check_processes(devices, num_nodes)
    with (
        run_folder(output_dir, config, resume=resume),
        joined() as place,
        own_random_numbers(config.seed),
    ):
        with main_first(place):  # it may download
            split, classes = load_data(config.data)
        ann = initial_ann(config, classes=len(classes))
        teacher = _teacher(config, classes)
        started = time.perf_counter()
        fit(
            ann,
            split.train,
            config.train,
            validation=split.test,
            teacher=teacher,
            output_dir=output_dir,
            resume=resume,
            classes=len(classes),
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            progress=progress and is_main(),
        )
        path = output_dir / "ann.safetensors"
        if is_main():
            seconds = round(time.perf_counter() - started, 1)
            figures = {"seconds_of_last_slice": seconds, **versions_and_machine()}
            levels = {name: clip.levels for name, clip in clips_of(ann).items()}
            learned = replace(config, levels=levels) if config.train.level_penalty else config
            save_ann(path, ann, learned, classes=classes, figures=figures)
            write_result(output_dir, "training", config, read_curves(output_dir), **figures)
    return path


def _teacher(config: ExperimentConfig, classes: Sequence[str]) -> Teacher | None:
    """What the network learns beside the labels."""
    if config.teacher is None:
        return None
    (model,) = teachers_from(
        [config.teacher], learner="this network", classes=classes, data=config.data
    )
    return (
        Teacher(model) if config.distillation is None else Teacher(model, share=config.distillation)
    )
