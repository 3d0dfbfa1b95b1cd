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
from ..errors import ConfigError, DataError
from ..models import (
    Checkpoint,
    load_ann,
    load_pretrained,
    load_pretrained_snn,
    pretrained_names,
    pretrained_snn_names,
)
from ..network import SpikingNetwork
from ..settings import DataConfig
from ._data import load_data
from ._files import write_result
from ._finetuned import load_tuned
from ._folder import own_folder

R = TypeVar("R", bound=Result)

# What shipped networks hold in place of the folder of their images.
_NO_ROOT = "<set data_root>"


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """Which network to measure, and on what.

    Attributes:
        checkpoint: An ``ann.safetensors``; this or ``pretrained`` must be given.
        pretrained: A network that the package ships: an ANN, which is converted, or a spiking one.
        tuned: Folder of a fine-tuning of the ANN, whose network is measured in place of the
            converted one.
        data_root: Folder of the data, if it is not the one that the network was trained on.
        steps: The T to show.
        images: How many test images, spread evenly; 0 for all.
        batch_size: Images at a time, in each process.

    Raises:
        ConfigError: A setting is outside its range; there is no network, or more than one.

    Example:
        >>> MeasureConfig(checkpoint="runs/digits/ann.safetensors", steps=(1, 2)).batch_size
        25
    """

    checkpoint: str | None = None
    pretrained: str | None = None
    tuned: str | None = None
    data_root: str | None = None
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    images: int = 0
    batch_size: int = 25

    def __post_init__(self) -> None:
        self._check_network()
        check_whole_numbers("steps", self.steps, lowest=1)
        check_whole_numbers("images", (self.images,), lowest=0)
        check_whole_numbers("batch_size", (self.batch_size,), lowest=1)

    @property
    def network(self) -> str:
        """The file or name of the network, for errors."""
        return str(self.checkpoint or self.pretrained)

    def _check_network(self) -> None:
        """Refuse no network, two of them, or a name that is not known."""
        if (self.checkpoint is None) == (self.pretrained is None):
            raise ConfigError(
                "give a trained network: either --checkpoint (an ann.safetensors of `train`) or "
                f"--pretrained (one of {', '.join((*pretrained_names(), *pretrained_snn_names()))})"
                f"; got checkpoint={self.checkpoint!r}, pretrained={self.pretrained!r}"
            )
        if self.pretrained is None:
            return
        spiking = self.pretrained in pretrained_snn_names()
        if not spiking and self.pretrained not in pretrained_names():
            known = ", ".join((*pretrained_names(), *pretrained_snn_names()))
            raise ConfigError(f"there is no network {self.pretrained!r}; the package ships {known}")
        if spiking and self.tuned is not None:
            raise ConfigError(
                f"{self.pretrained} is fine-tuned already, and tuned={self.tuned!r} names another "
                "network; give one of them"
            )


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
    checkpoint, shipped = _checkpoint_of(config)
    data = _data_of(checkpoint, config)
    with main_first(place):
        split, classes = load_data(data)
    if classes != checkpoint.classes:
        raise DataError(
            f"{config.network} has {len(checkpoint.classes)} classes "
            f"({', '.join(checkpoint.classes[:5])}, …), the data has {len(classes)} "
            f"({', '.join(classes[:5])}, …)"
        )
    test, total = split.test, len(split.test)  # type: ignore[arg-type]
    if config.images and config.images < total:
        test = Subset(test, [i * total // config.images for i in range(config.images)])
    if config.tuned is not None:
        snn = load_tuned(config.tuned, checkpoint.ann)
    else:
        snn = convert(checkpoint.ann) if shipped is None else shipped
    return Opened(checkpoint, snn, split.train, test, place)


def _checkpoint_of(config: MeasureConfig) -> tuple[Checkpoint, SpikingNetwork | None]:
    """The ANN with its settings, and the spiking network if it is one that ships."""
    if config.checkpoint is not None:
        return load_ann(config.checkpoint), None
    name = str(config.pretrained)
    if name in pretrained_names():
        return load_pretrained(name), None
    shipped = load_pretrained_snn(name)
    return shipped.source, shipped.snn


def _data_of(checkpoint: Checkpoint, config: MeasureConfig) -> DataConfig:
    """The data to measure on; :class:`ConfigError` if a shipped network does not know where."""
    data = checkpoint.config.data
    if config.data_root is not None:
        return replace(data, root=config.data_root)
    if data.root == _NO_ROOT:
        raise ConfigError(
            f"{config.network} ships without the images it was trained on. Name their folder, with "
            f"--data-root; they were: {checkpoint.figures.get('data', 'not recorded')}"
        )
    return data


def run_measurement(
    measure: Callable[[Opened], R], config: MeasureConfig, output_dir: Path, name: str
) -> R:
    """Open a checkpoint, measure it in each process, write ``name.json`` and ``name.svg`` once."""
    with joined() as place:
        opened = open_checkpoint(config, place)
        with own_folder(output_dir):  # before it: what cannot be written would be lost
            for network in (opened.checkpoint.ann, opened.snn):
                network.to(default_device())
            result = measure(opened)
            write_result(output_dir, name, config, result)
    return result
