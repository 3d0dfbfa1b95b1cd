"""Evaluation and ablation of a checkpoint as runs: settings in, JSON and pictures out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset, Subset

from .._util.checks import check_whole_numbers
from .._util.devices import default_device
from .._util.files import replacing
from .._util.processes import Place, is_main, joined, main_first, share
from ..conversion._convert import convert
from ..errors import DataError
from ..measurement import Evaluation, evaluate
from ..models._checkpoint import Checkpoint, load_ann
from ..network._network import SpikingNetwork
from ._ablation import NEURONS, Ablation, ablate, check_neurons
from ._data import load_data
from ._records import settings_of_this_run, usable, write_json
from ._tuned import load_tuned

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """What to measure a checkpoint on.

    Attributes:
        checkpoint: An ``ann.safetensors``.
        tuned: Folder of a fine-tuning of it, whose network is measured in place of the converted
            one.
        data_root: Folder of the data, where it is not the one that the network was trained on.
        steps: The T to show.
        images: How many test images, spread evenly; 0 for all.
        batch_size: Images at a time, in each process.
    """

    checkpoint: str
    tuned: str | None = None
    data_root: str | None = None
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    images: int = 0
    batch_size: int = 25

    def __post_init__(self) -> None:
        check_whole_numbers("steps", self.steps, lowest=1)
        check_whole_numbers("images", (self.images,), lowest=0)
        check_whole_numbers("batch_size", (self.batch_size,), lowest=1)


@dataclass(frozen=True, kw_only=True)
class AblateConfig(MeasureConfig):
    """What to compare on one checkpoint.

    Attributes:
        neurons: Some of :data:`snntorch_ecl.experiments.NEURONS`.
    """

    neurons: tuple[str, ...] = NEURONS

    def __post_init__(self) -> None:
        super().__post_init__()
        check_neurons(self.neurons)


@dataclass(frozen=True)
class Opened:
    """A checkpoint with the data it belongs to.

    Attributes:
        checkpoint: The network and its settings.
        snn: The spiking network: the converted one, or the one that was tuned from it.
        train: Training data, varied as the network was trained.
        test: The test images asked for.
    """

    checkpoint: Checkpoint
    snn: SpikingNetwork
    train: Dataset[Any]
    test: Dataset[Any]


def open_checkpoint(config: MeasureConfig, place: Place) -> Opened:
    """Load a checkpoint and its data.

    Args:
        config: Which.
        place: Which process this is; the first one downloads, where something has to be.

    Returns:
        Both.

    Raises:
        CheckpointError: A file is missing, damaged or foreign.
        ThresholdUnsetError, NotPreparedError: The network does not convert.
        DataError: The data is missing, or has other classes than the network.
    """
    checkpoint = load_ann(config.checkpoint)
    data = checkpoint.config.data
    if config.data_root is not None:
        data = replace(data, root=config.data_root)
    with main_first(place):
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
    ann = checkpoint.ann
    snn = convert(ann) if config.tuned is None else load_tuned(config.tuned, ann)
    return Opened(checkpoint, snn, split.train, test)


def run_evaluation(config: MeasureConfig, output_dir: Path, *, progress: bool = True) -> Evaluation:
    """Measure the converted network at every t up to the longest T.

    Under ``torchrun`` each process measures its share, and the first writes the files.

    Args:
        config: What to measure.
        output_dir: Where ``evaluation.json`` and ``evaluation.svg`` go.
        progress: Show a progress bar.

    Returns:
        The evaluation.

    Raises:
        CheckpointError, DataError: The checkpoint or the data cannot be used, or a file cannot be
            written.
    """

    def measure(opened: Opened, place: Place) -> Evaluation:
        return evaluate(
            opened.snn.fuse(worth_fusing(opened.test, max(config.steps))),
            DataLoader(share(opened.test, place), config.batch_size),
            num_steps=max(config.steps),
            ann=opened.checkpoint.ann,
            distributed=place.world_size > 1,
            progress=progress and place.rank == 0,
        )

    return run_measurement(measure, config, output_dir, "evaluation")


def run_ablation(config: AblateConfig, output_dir: Path, *, progress: bool = True) -> Ablation:
    """Compare the neurons on one checkpoint; as :func:`run_evaluation`, files ``ablation``."""

    def measure(opened: Opened, place: Place) -> Ablation:
        return ablate(
            opened.checkpoint.ann,
            DataLoader(share(opened.test, place), config.batch_size),
            snn=opened.snn,
            steps=config.steps,
            neurons=config.neurons,
            fused=worth_fusing(opened.test, max(config.steps)),
            distributed=place.world_size > 1,
            progress=progress and place.rank == 0,
        )

    return run_measurement(measure, config, output_dir, "ablation")


def worth_fusing(test: Dataset[Any], num_steps: int) -> bool:
    """Whether a run is long enough for compiling the neurons to save time.

    Args:
        test: The images, with a length.
        num_steps: T.
    """
    return len(test) * num_steps > 20_000  # type: ignore[arg-type]


def run_measurement(
    measure: Callable[[Opened, Place], R], config: MeasureConfig, output_dir: Path, name: str
) -> R:
    """Open a checkpoint, measure it, leave what was found.

    Args:
        measure: What to do with the checkpoint in each process.
        config: Which checkpoint, and on what.
        output_dir: Where ``name.json`` and ``name.svg`` go.
        name: Of the files.

    Returns:
        What ``measure`` returns: it has ``to_dict()`` and ``plot()``.

    Raises:
        CheckpointError, DataError: The checkpoint or the data cannot be used, or a file cannot be
            written.
    """
    with joined() as place:
        opened = open_checkpoint(config, place)
        usable(output_dir)  # a folder that cannot be written to would lose what is measured
        for network in (opened.checkpoint.ann, opened.snn):
            network.to(default_device())
        result = measure(opened, place)
    leave(output_dir, name, config, result)
    return result


def leave(output_dir: Path, name: str, config: Any, result: Any, **more: Any) -> None:
    """Write ``name.json``, from which the run can be repeated, and ``name.svg``.

    Args:
        output_dir: The folder; it is made.
        name: Of both files.
        config: The run's settings.
        result: Has ``to_dict()`` and ``plot()``.
        **more: Plain data to write beside the figures.

    Raises:
        DataError: A file cannot be written; what stood there is unharmed.
    """
    if not is_main():
        return
    figures = {**result.to_dict(), **more}
    content = {"config": asdict(config), "figures": figures, **settings_of_this_run()}
    write_json(output_dir / f"{name}.json", content)
    picture = output_dir / f"{name}.svg"
    try:
        with replacing(picture) as part:
            result.plot().savefig(part, format="svg")
    except OSError as error:
        raise DataError(f"{picture} cannot be written: {error}") from error
