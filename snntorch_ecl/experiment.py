"""Running experiments: train a network, measure it, leave everything needed to repeat it."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import snntorch
import torch
from torch import nn

from ._version import __version__
from .checkpoint import build_ann, load_ann, save_ann
from .config import ExperimentConfig
from .data import load_data
from .errors import CheckpointError, ConfigError, DataError
from .train import fit

__all__ = ["run_training", "settings_of_this_run", "write_json"]


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
    _check_folder(config, output_dir, resume)
    write_json(output_dir / "config.json", {"config": config.to_dict()})
    split, classes = load_data(config.data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        ann = build_ann(config, classes=len(classes))
        if config.weights is not None:
            _start_from(ann, Path(config.weights))
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
            progress=progress,
        )
    seconds = time.perf_counter() - started
    figures = {"seconds_of_last_slice": round(seconds, 1), **settings_of_this_run()}
    return save_ann(output_dir / "ann.safetensors", ann, config, classes=classes, figures=figures)


def _check_folder(config: ExperimentConfig, output_dir: Path, resume: bool) -> None:
    known = output_dir / "config.json"
    if not known.is_file():
        return
    if not resume:
        raise ConfigError(
            f"{output_dir} already holds a run; go on with it (--resume), or choose another folder"
        )
    before, now = (_flat(c) for c in (json.loads(known.read_text())["config"], config.to_dict()))
    differing = [
        f"{name} was {before.get(name)!r}, now {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if differing:
        raise ConfigError(
            f"the run in {output_dir} had other settings: {'; '.join(differing)}. Resume it with "
            "the settings it had, or choose another folder"
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def _start_from(ann: nn.Module, path: Path) -> None:
    """Take over the weights of a trained ReLU network; thresholds stay unset."""
    source = load_ann(path).ann.state_dict()
    missing, unexpected = ann.load_state_dict(source, strict=False)
    missing = [name for name in missing if not name.endswith("raw_threshold")]
    if missing or unexpected:
        raise CheckpointError(
            f"{path} holds another network: missing {missing or 'nothing'}, unexpected "
            f"{unexpected or 'nothing'}"
        )


def settings_of_this_run() -> dict[str, Any]:
    """Versions and machine, to be written beside any figure."""
    return {
        "versions": {
            "snntorch-ecl": __version__,
            "snntorch": snntorch.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write plain data, all or nothing.

    Raises:
        DataError: The file cannot be written; one that stood there is unharmed.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}") from error
    return path
