"""The sweep as a run: a network for each L and seed, measured at each T."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from rich.table import Table
from torch import nn

from .._util.figures import BESIDE, new_figure
from .._util.results import Result
from .._util.tables import table
from ..conversion._convert import convert
from ..errors import ConfigError
from ..measurement._evaluate import evaluate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
import json
from dataclasses import asdict, field, replace
from pathlib import Path

from torch.utils.data import DataLoader, Dataset

from .._util.checks import check_whole_numbers
from .._util.devices import default_device
from .._util.rng import own_random_numbers
from ..errors import DataError
from ..models._checkpoint import initial_ann
from ..settings._experiment import ExperimentConfig
from ..settings._train import TrainConfig
from ..training._fit import fit
from ._data import load_data
from ._measure import leave, worth_fusing
from ._records import check_same, settings_of_this_run, usable, write_json


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


@dataclass(frozen=True)
class Point:
    """Accuracies of one (L, T), over seeds.

    Attributes:
        levels: L.
        num_steps: T.
        accuracies: One for each seed, within [0, 1].
    """

    levels: int
    num_steps: int
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return mean(self.accuracies)

    @property
    def spread(self) -> float:
        """Standard deviation over seeds; 0 for a single one."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0


def pareto_front(points: Iterable[Point]) -> tuple[Point, ...]:
    """Points that no other point beats: fewer steps, or more accuracy.

    Args:
        points: Any number of them.

    Returns:
        Those on the front, by number of steps.

    Example:
        >>> slow, fast, bad = Point(4, 8, (0.9,)), Point(4, 2, (0.8,)), Point(2, 8, (0.7,))
        >>> [p.num_steps for p in pareto_front([slow, fast, bad])]
        [2, 8]
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.num_steps, -p.mean)):
        if not front or point.mean > front[-1].mean:
            front.append(point)
    return tuple(front)


@dataclass(frozen=True)
class Sweep(Result):
    """Accuracy over a grid of L and T.

    Attributes:
        points: The grid.
        ann: Accuracies of the ANN for each L, one a seed.
    """

    points: tuple[Point, ...]
    ann: Mapping[int, tuple[float, ...]]

    @property
    def front(self) -> tuple[Point, ...]:
        """The points that no other beats; see :func:`pareto_front`."""
        return pareto_front(self.points)

    def table(self) -> Table:
        """Mean ± deviation in per cent; the Pareto front is starred."""
        steps = sorted({point.num_steps for point in self.points})
        front = set(self.front)
        cells = {(p.levels, p.num_steps): _cell(p, p in front) for p in self.points}
        rows = [
            (
                f"L = {levels}",
                _cell(Point(levels, 0, accuracies), starred=False),
                *(cells[levels, t] for t in steps),
            )
            for levels, accuracies in self.ann.items()
        ]
        seeds = len(next(iter(self.ann.values())))
        title = f"Accuracy, %, mean ± deviation of {seeds} seed(s); * on the Pareto front"
        return table(title, ("", "ANN", *(f"T = {t}" for t in steps)), rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        front = set(self.front)
        return {
            "ann": {str(levels): list(values) for levels, values in self.ann.items()},
            "points": [
                {
                    "levels": p.levels,
                    "num_steps": p.num_steps,
                    "accuracies": list(p.accuracies),
                    "pareto": p in front,
                }
                for p in self.points
            ],
        }

    def plot(self) -> Figure:
        """Accuracy over T, a line for each L, with the Pareto front (needs matplotlib)."""
        figure, axes = new_figure(size=(8, 4.2))
        _draw(axes, self)
        return figure


def _cell(point: Point, starred: bool) -> str:
    star = "*" if starred else ""
    return f"{100 * point.mean:.2f} ± {100 * point.spread:.2f}{star}"


def _draw(axes: Axes, sweep: Sweep) -> None:
    """Accuracy over T, one line for each L with its deviation, and the Pareto front.

    Args:
        axes: Where to draw.
        sweep: What to draw.
    """
    for levels in sweep.ann:
        points = sorted(
            (p for p in sweep.points if p.levels == levels), key=lambda point: point.num_steps
        )
        steps = [point.num_steps for point in points]
        means = [100 * point.mean for point in points]
        spreads = [100 * point.spread for point in points]
        axes.errorbar(
            steps, means, spreads, fmt="o-", markersize=4, capsize=2, label=f"L = {levels}"
        )
    front = sweep.front
    axes.plot(
        [point.num_steps for point in front],
        [100 * point.mean for point in front],
        "s",
        markersize=10,
        markerfacecolor="none",
        markeredgecolor="black",
        label="Pareto front",
    )
    axes.set_xscale("log", base=2)
    ticks = sorted({point.num_steps for point in sweep.points})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xlabel("time steps T")
    axes.set_ylabel("accuracy, %")
    # A deviation may reach beyond what an accuracy can be.
    axes.set_ylim(max(axes.get_ylim()[0], 0), min(axes.get_ylim()[1], 101))
    axes.grid(alpha=0.25)
    axes.legend(**BESIDE)
