"""Evaluation, ablation, sweep and fine-tuning as runs: settings in, JSON and pictures out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from .ablation import Ablation, Point, Sweep, ablate
from .checkpoint import Checkpoint, build_ann, load_ann
from .config import ExperimentConfig
from .convert import convert
from .data import load_data
from .errors import ConfigError, DataError
from .evaluate import Evaluation, evaluate
from .experiment import settings_of_this_run, write_json
from .network import SpikingNetwork
from .train import TrainConfig, fit

__all__ = [
    "MeasureConfig",
    "SweepConfig",
    "TuneConfig",
    "run_ablation",
    "run_evaluation",
    "run_sweep",
    "run_tuning",
]


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """What to measure a checkpoint on.

    Attributes:
        checkpoint: An ``ann.safetensors``.
        data_root: Folder of the data, where it is not the one that the network was trained on.
        steps: The T to show.
        images: How many test images, spread evenly; 0 for all.
        batch_size: Images at a time.
    """

    checkpoint: str
    data_root: str | None = None
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    images: int = 0
    batch_size: int = 50

    def __post_init__(self) -> None:
        if not self.steps or any(not isinstance(t, int) or t < 1 for t in self.steps):
            raise ConfigError(f"steps must be integers >= 1; got {list(self.steps)}")
        if self.images < 0 or self.batch_size < 1:
            raise ConfigError(
                f"images must be >= 0 and batch_size >= 1; got {self.images}, {self.batch_size}"
            )


def _opened(config: MeasureConfig) -> tuple[Checkpoint, Dataset[Any], Dataset[Any]]:
    """The checkpoint, its training data and the test images asked for."""
    checkpoint = load_ann(config.checkpoint)
    data = checkpoint.config.data
    if config.data_root is not None:
        data = replace(data, root=config.data_root)
    split, classes = load_data(data)
    if classes != checkpoint.classes:
        raise DataError(
            f"{config.checkpoint} tells {len(checkpoint.classes)} classes apart "
            f"({', '.join(checkpoint.classes[:5])}, …), the data has {len(classes)} "
            f"({', '.join(classes[:5])}, …)"
        )
    test, total = split.test, len(split.test)  # type: ignore[arg-type]
    if config.images and config.images < total:
        test = Subset(test, [i * total // config.images for i in range(config.images)])
    return checkpoint, split.train, test


def run_evaluation(config: MeasureConfig, output_dir: Path, *, progress: bool = True) -> Evaluation:
    """Measure the converted network at every t up to the longest T.

    Args:
        config: What to measure.
        output_dir: Where ``evaluation.json`` and ``evaluation.svg`` go.
        progress: Show a progress bar.

    Returns:
        The evaluation.

    Raises:
        CheckpointError, DataError: The checkpoint or the data cannot be used.
    """
    checkpoint, _, test = _opened(config)
    result = evaluate(
        convert(checkpoint.ann),
        DataLoader(test, config.batch_size),
        num_steps=max(config.steps),
        ann=checkpoint.ann,
        progress=progress,
    )
    _leave(output_dir, "evaluation", config, result.to_dict(), result.plot())
    return result


def run_ablation(config: MeasureConfig, output_dir: Path, *, progress: bool = True) -> Ablation:
    """Compare the neurons on one checkpoint; files are named ``ablation``."""
    checkpoint, _, test = _opened(config)
    result = ablate(
        checkpoint.ann,
        DataLoader(test, config.batch_size),
        steps=config.steps,
        progress=progress,
    )
    _leave(output_dir, "ablation", config, result.to_dict(), result.plot())
    return result


# ------------------------------------------------------------------------------------- sweep


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """A grid of L and T.

    Attributes:
        experiment: The run that is repeated with each L and seed.
        levels: The L.
        steps: The T.
        seeds: How many seeds, from 0.
    """

    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)
    levels: tuple[int, ...] = (2, 4, 8, 16, 32)
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    seeds: int = 3

    def __post_init__(self) -> None:
        for name in ("levels", "steps"):
            values = getattr(self, name)
            if not values or any(not isinstance(v, int) or v < 1 for v in values):
                raise ConfigError(f"{name} must be integers >= 1; got {list(values)}")
        if self.seeds < 1:
            raise ConfigError(f"seeds must be >= 1; got {self.seeds}")


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
    """
    file = output_dir / "sweep.json"
    done = _finished(file, config)
    split, classes = load_data(config.experiment.data)
    for levels in config.levels:
        for seed in range(config.seeds):
            key = f"L={levels} seed={seed}"
            if key in done:
                continue
            run = replace(
                config.experiment,
                levels=levels,
                seed=seed,
                train=replace(config.experiment.train, seed=seed),
            )
            ann = _train(run, split.train, len(classes), progress)
            loader = DataLoader(split.test, batch_size=50)
            result = evaluate(
                convert(ann), loader, num_steps=max(config.steps), ann=ann, progress=progress
            )
            done[key] = {"ann": result.ann_accuracy, "accuracy": result.accuracy}
            write_json(file, {"config": asdict(config), "runs": done, **settings_of_this_run()})
    sweep = _gather(config, done)
    _leave(output_dir, "sweep", config, {**sweep.to_dict(), "runs": done}, sweep.plot())
    return sweep


def _finished(file: Path, config: SweepConfig) -> dict[str, Any]:
    if not file.is_file():
        return {}
    before = json.loads(file.read_text(encoding="utf-8"))
    if before["config"] != json.loads(json.dumps(asdict(config))):
        raise ConfigError(f"{file} is a sweep of other settings; choose another folder")
    runs: dict[str, Any] = before.get("runs") or before["figures"]["runs"]
    return runs


def _train(run: ExperimentConfig, data: Dataset[Any], classes: int, progress: bool) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        return fit(build_ann(run, classes=classes), data, run.train, progress=progress)


def _gather(config: SweepConfig, runs: Mapping[str, Any]) -> Sweep:
    def over_seeds(levels: int) -> list[Any]:
        return [runs[f"L={levels} seed={seed}"] for seed in range(config.seeds)]

    points = tuple(
        Point(levels, t, tuple(run["accuracy"][t - 1] for run in over_seeds(levels)))
        for levels in config.levels
        for t in config.steps
    )
    ann = {levels: tuple(run["ann"] for run in over_seeds(levels)) for levels in config.levels}
    return Sweep(points, ann)


# ------------------------------------------------------------------------------- fine-tuning


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Fine-tuning of the converted network itself, through surrogate gradients.

    Attributes:
        measure: Checkpoint and test data.
        num_steps: T to train at.
        train: The recipe; a few epochs at a small learning rate.
    """

    measure: MeasureConfig
    num_steps: int = 2
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(epochs=2, lr=0.005, threshold_decay=0.0)
    )

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ConfigError(f"num_steps must be >= 1; got {self.num_steps}")


class _AtSteps(nn.Module):
    """A spiking network at a fixed T, as one function of its images."""

    def __init__(self, snn: SpikingNetwork, num_steps: int) -> None:
        super().__init__()
        self.snn = snn
        self.num_steps = num_steps

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.snn(images, num_steps=self.num_steps)
        return logits


def run_tuning(config: TuneConfig, output_dir: Path, *, progress: bool = True) -> Evaluation:
    """Fine-tune the converted network at one T, from the converted weights.

    Args:
        config: Checkpoint, T and recipe.
        output_dir: Where ``snn.safetensors`` and ``tuning.json`` go.
        progress: Show progress bars.

    Returns:
        The evaluation of the tuned network.
    """
    checkpoint, train, test = _opened(config.measure)
    snn = convert(checkpoint.ann)
    fit(
        _AtSteps(snn, config.num_steps),
        train,
        config.train,
        classes=len(checkpoint.classes),
        progress=progress,
    )
    result = evaluate(
        snn,
        DataLoader(test, config.measure.batch_size),
        num_steps=max(config.measure.steps),
        ann=checkpoint.ann,
        progress=progress,
    )
    snn.save(output_dir / "snn.safetensors")
    _leave(output_dir, "tuning", config, result.to_dict(), result.plot())
    return result


def _leave(output_dir: Path, name: str, config: Any, figures: Any, picture: Any) -> None:
    """Write ``name.json`` (from which the run can be repeated) and ``name.svg``."""
    content = {"config": asdict(config), "figures": figures, **settings_of_this_run()}
    write_json(output_dir / f"{name}.json", content)
    try:
        picture.savefig(output_dir / f"{name}.svg")
    except OSError as error:
        raise DataError(f"{output_dir / name}.svg cannot be written: {error}") from error
