"""The sweep as a run: a network for each L and seed, measured at each T."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader, Dataset

from .ablation import Point, Sweep
from .checkpoint import initial_ann
from .checks import check_whole_numbers
from .config import ExperimentConfig
from .convert import convert
from .data import load_data
from .errors import ConfigError, DataError
from .evaluate import evaluate
from .measure import leave, worth_fusing
from .processes import default_device, own_random_numbers
from .records import check_same, settings_of_this_run, usable, write_json
from .train import TrainConfig, fit

__all__ = ["SweepConfig", "run_sweep"]


def _digits() -> ExperimentConfig:
    """The recipe ``digits``, without reading it."""
    return ExperimentConfig(train=TrainConfig(epochs=8, batch_size=64, lr=0.05))


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """A grid of L and T.

    Attributes:
        experiment: The run that is repeated with each L and seed; the recipe ``digits`` unless
            given.
        levels: The L.
        steps: The T.
        seeds: How many seeds, from 0.
    """

    experiment: ExperimentConfig = field(default_factory=_digits)
    levels: tuple[int, ...] = (2, 4, 8, 16, 32)
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    seeds: int = 3

    def __post_init__(self) -> None:
        check_whole_numbers("levels", self.levels, lowest=1)
        check_whole_numbers("steps", self.steps, lowest=1)
        check_whole_numbers("seeds", (self.seeds,), lowest=1)
        if self.experiment.relu:
            raise ConfigError("experiment.relu must be false: a sweep trains with L levels")


def run_sweep(config: SweepConfig, output_dir: Path, *, progress: bool = True) -> Sweep:
    """Train a network for each L and seed, and measure it at each T.

    What is finished is kept in ``sweep.json``: the same command goes on where it was stopped.

    Args:
        config: The grid.
        output_dir: Where ``sweep.json`` and ``sweep.svg`` go.
        progress: Show progress bars.

    Returns:
        The grid of accuracies.

    Raises:
        ConfigError: The folder holds a sweep of other settings.
        CheckpointError: ``experiment.weights`` cannot be read, or hold another network.
        DataError: The data cannot be used, or a file cannot be read or written.
    """
    file = output_dir / "sweep.json"
    runs = _finished(file, config)
    split, classes = load_data(config.experiment.data)
    usable(output_dir)
    for levels in config.levels:
        for seed in range(config.seeds):
            key = _key(levels, seed)
            if key not in runs:
                ann = _train(config.experiment, levels, seed, split.train, len(classes), progress)
                runs[key] = _measure(ann, split.test, max(config.steps), progress)
                so_far = {"config": asdict(config), "figures": {"runs": runs}}
                write_json(file, {**so_far, **settings_of_this_run()})
    sweep = _gather(config, runs)
    leave(output_dir, "sweep", config, sweep, runs=runs)
    return sweep


def _key(levels: int, seed: int) -> str:
    return f"L={levels} seed={seed}"


def _finished(file: Path, config: SweepConfig) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        settings, runs = dict(before["config"]), dict(before["figures"]["runs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is no sweep that could be gone on with: {error!r}") from error
    check_same(settings, config, file)
    return runs


def _train(
    experiment: ExperimentConfig,
    levels: int,
    seed: int,
    data: Dataset[Any],
    classes: int,
    progress: bool,
) -> nn.Module:
    recipe = replace(experiment.train, seed=seed)
    run = replace(experiment, levels=levels, seed=seed, train=recipe)
    with own_random_numbers(seed):
        ann = initial_ann(run, classes=classes)
        return fit(ann, data, recipe, classes=classes, progress=progress)


def _measure(ann: nn.Module, test: Dataset[Any], num_steps: int, progress: bool) -> dict[str, Any]:
    ann = ann.to(default_device())
    snn = convert(ann).fuse(worth_fusing(test, num_steps))
    loader = DataLoader(test, batch_size=25)
    result = evaluate(snn, loader, num_steps=num_steps, ann=ann, progress=progress)
    return {"ann": result.ann_accuracy, "accuracy": list(result.accuracy)}


def _gather(config: SweepConfig, runs: Mapping[str, Any]) -> Sweep:
    def over_seeds(levels: int) -> list[Any]:
        return [runs[_key(levels, seed)] for seed in range(config.seeds)]

    points = tuple(
        Point(levels, t, tuple(run["accuracy"][t - 1] for run in over_seeds(levels)))
        for levels in config.levels
        for t in config.steps
    )
    ann = {levels: tuple(run["ann"] for run in over_seeds(levels)) for levels in config.levels}
    return Sweep(points, ann)
