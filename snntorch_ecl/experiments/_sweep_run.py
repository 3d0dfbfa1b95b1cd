"""The sweep as a run: a network for each L and seed, measured at each T."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader, Dataset

from .._util.checks import check_whole_numbers
from .._util.devices import default_device
from .._util.rng import own_random_numbers
from ..conversion import convert
from ..errors import ConfigError, DataError
from ..measurement import evaluate
from ..models._checkpoint import initial_ann
from ..settings import ExperimentConfig, TrainConfig
from ..training import fit
from ._data import load_data
from ._files import (
    check_alone,
    versions_and_machine,
    write_json,
    write_result,
)
from ._folder import check_same, own_folder
from ._measure import pays_to_compile
from ._sweep import Point, Sweep


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

    Raises:
        ConfigError: A setting is outside its range.

    Example:
        >>> len(SweepConfig(levels=(2, 4), seeds=3).levels)
        2
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
        if self.experiment.train.level_penalty:
            raise ConfigError("experiment.train.level_penalty must be 0: a sweep sets levels")


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
        ConfigError: The folder holds a sweep of other settings, or there are several processes.
        CheckpointError: ``experiment.weights`` cannot be read, or holds another network.
        DataError: The data cannot be used, or a file cannot be read or written.

    Example:
        >>> config = SweepConfig(levels=(2, 4), steps=(1, 2, 4), seeds=1)
        >>> run_sweep(config, Path("runs/sweep"))  # doctest: +SKIP
    """
    check_alone("a sweep")
    with own_folder(output_dir):
        runs = _runs(config, output_dir / "sweep.json", progress)
        sweep = _gather(config, runs)
        write_result(output_dir, "sweep", config, sweep, runs=runs)
    return sweep


def _runs(config: SweepConfig, file: Path, progress: bool) -> dict[str, Any]:
    """What each training gave; the file has those that are finished."""
    runs = _finished(file, config)
    split, classes = load_data(config.experiment.data)
    for levels in config.levels:
        for seed in range(config.seeds):
            key = _key(levels, seed)
            if key not in runs:
                ann = _train(config.experiment, levels, seed, split.train, len(classes), progress)
                runs[key] = _measure(
                    ann, split.test, max(config.steps), progress and f"evaluate {key}"
                )
                so_far = {"config": asdict(config), "figures": {"runs": runs}}
                write_json(file, {**so_far, **versions_and_machine()})
    return runs


def _key(levels: int, seed: int) -> str:
    """The name of one training in the file."""
    return f"L={levels} seed={seed}"


def _finished(file: Path, config: SweepConfig) -> dict[str, Any]:
    """What an interrupted sweep of the same settings has measured, by training."""
    if not file.is_file():
        return {}
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        settings, runs = dict(before["config"]), dict(before["figures"]["runs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is not a sweep that can be continued: {error!r}") from error
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
    """The experiment's network, trained with these levels and this seed."""
    recipe = replace(experiment.train, seed=seed)
    run = replace(experiment, levels=levels, seed=seed, train=recipe)
    with own_random_numbers(seed):
        ann = initial_ann(run, classes=classes)
        return fit(ann, data, recipe, classes=classes, progress=progress)


def _measure(
    ann: nn.Module, test: Dataset[Any], num_steps: int, progress: bool | str
) -> dict[str, Any]:
    """Accuracy of the ANN, and of the converted network at each t."""
    ann = ann.to(default_device())
    snn = convert(ann).compile(pays_to_compile(test, num_steps))
    loader = DataLoader(test, batch_size=25)
    result = evaluate(snn, loader, num_steps=num_steps, ann=ann, progress=progress)
    return {"ann": result.ann_accuracy, "accuracy": list(result.accuracy)}


def _gather(config: SweepConfig, runs: Mapping[str, Any]) -> Sweep:
    """The grid, from what each training gave."""

    def over_seeds(levels: int) -> list[Any]:
        return [runs[_key(levels, seed)] for seed in range(config.seeds)]

    points = tuple(
        Point(levels, t, tuple(run["accuracy"][t - 1] for run in over_seeds(levels)))
        for levels in config.levels
        for t in config.steps
    )
    ann = {levels: tuple(run["ann"] for run in over_seeds(levels)) for levels in config.levels}
    return Sweep(points, ann)
