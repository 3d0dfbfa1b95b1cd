"""Running experiments: train a network, measure it, leave everything needed to repeat it."""

from __future__ import annotations

import time
from pathlib import Path

from .._util.processes import is_main, joined, main_first
from .._util.rng import own_random_numbers
from ..models._checkpoint import initial_ann, save_ann
from ..settings._experiment import ExperimentConfig
from ..training._fit import fit
from ._curves import read_curves
from ._data import load_data
from ._measure import leave
from ._records import continued, settings_of_this_run


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
        DataError, CheckpointError, StateError: As for the steps it takes.
    """
    continued(output_dir, config, resume=resume)
    with joined() as place, own_random_numbers(config.seed):
        with main_first(place):  # it may download
            split, classes = load_data(config.data)
        ann = initial_ann(config, classes=len(classes))
        started = time.perf_counter()
        fit(
            ann,
            split.train,
            config.train,
            validation=split.test,
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
        figures = {"seconds_of_last_slice": seconds, **settings_of_this_run()}
        save_ann(path, ann, config, classes=classes, figures=figures)
        leave(output_dir, "training", config, read_curves(output_dir), **figures)
    return path
