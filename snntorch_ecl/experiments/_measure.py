"""What all measurements of a checkpoint share: settings, opening it, writing what is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from .._util.checks import check_whole_numbers
from .._util.devices import default_device
from .._util.processes import Place, joined, main_first, share
from .._util.results import Result
from ..conversion import convert
from ..errors import DataError
from ..models import Checkpoint, load_ann
from ..network import SpikingNetwork
from ._data import load_data
from ._files import check_writable, write_result
from ._finetuned import load_tuned

R = TypeVar("R", bound=Result)


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

    Raises:
        ConfigError: A setting is outside its range.

    Example:
        >>> MeasureConfig(checkpoint="runs/digits/ann.safetensors", steps=(1, 2)).batch_size
        25
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


@dataclass(frozen=True)
class Opened:
    """A checkpoint with the data it belongs to, in one of several processes or in the only one.

    Attributes:
        checkpoint: The network and its settings.
        snn: The spiking network: the converted one, or the one that was tuned from it.
        train: Training data, varied as the network was trained.
        test: The test images asked for.
        place: Which process this is.
    """

    checkpoint: Checkpoint
    snn: SpikingNetwork
    train: Dataset[Any]
    test: Dataset[Any]
    place: Place

    def batches(self, batch_size: int) -> DataLoader[tuple[Tensor, Tensor]]:
        """This process' share of the test images."""
        return DataLoader(share(self.test, self.place), batch_size)

    @property
    def distributed(self) -> bool:
        """Whether other processes measure the rest."""
        return self.place.world_size > 1


def pays_to_compile(images: Dataset[Any], num_steps: int) -> bool:
    """Whether a run is so long that compiling the neurons saves time."""
    return len(images) * num_steps > 20_000  # type: ignore[arg-type]


def open_checkpoint(config: MeasureConfig, place: Place) -> Opened:
    """Load a checkpoint and its data; the first process downloads, where something has to be.

    :class:`DataError` if the data has other classes than the network.
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
    return Opened(checkpoint, snn, split.train, test, place)


def run_measurement(
    measure: Callable[[Opened], R], config: MeasureConfig, output_dir: Path, name: str
) -> R:
    """Open a checkpoint, measure it in each process, write ``name.json`` and ``name.svg`` once."""
    with joined() as place:
        opened = open_checkpoint(config, place)
        check_writable(output_dir)  # else what is measured would be lost
        for network in (opened.checkpoint.ann, opened.snn):
            network.to(default_device())
        result = measure(opened)
    write_result(output_dir, name, config, result)
    return result
