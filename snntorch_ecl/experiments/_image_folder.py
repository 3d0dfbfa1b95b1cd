"""Images in a folder, in subfolders by class or not, without torchvision."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .._util.optional import require
from ..errors import DataError
from ._image_file import read_image

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Found:
    """The images of a folder.

    Attributes:
        files: Sorted by path.
        classes: Names of the subfolders, sorted; empty if the images are not in subfolders.
        labels: The index of each image's class; empty without classes.
    """

    files: tuple[Path, ...]
    classes: tuple[str, ...]
    labels: tuple[int, ...]

    def numbered(self, outputs: int) -> tuple[int, ...] | None:
        """Each image's output of a network, or None where the folders do not tell.

        Folders are numbered in sorted order if there are as many as outputs. Folders whose names
        are numbers, or begin with one and an underscore, stand for that output.
        """
        if len(self.classes) == outputs:
            return self.labels
        starts = [name.partition("_")[0] for name in self.classes]
        if not starts or not all(start.isdecimal() and int(start) < outputs for start in starts):
            return None
        return tuple(int(starts[label]) for label in self.labels)


def find_images(folder: Path) -> Found:
    """All images below a folder; :class:`DataError` if there are none."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder} with images")
    files = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [
            Path(place, name)
            for name in names
            if name.lower().endswith(_SUFFIXES) and not name.startswith(".")
        ]
    if len(files) < 2:
        raise DataError(
            f"{folder} and the folders below hold {len(files)} images, and at least two are "
            f"needed: one to calibrate on, one to judge by. Known are {', '.join(_SUFFIXES)}"
        )
    files.sort()
    parents = [file.relative_to(folder).parts[:-1] for file in files]
    classes = sorted({parts[0] for parts in parents if parts})
    if not all(parents) or len(classes) < 2:
        return Found(tuple(files), (), ())
    index = {name: number for number, name in enumerate(classes)}
    return Found(tuple(files), tuple(classes), tuple(index[parts[0]] for parts in parents))


@dataclass(frozen=True)
class Preparation:
    """How an image becomes an input.

    Attributes:
        size: Side of the square, in pixels.
        mean: Of each channel, on a scale of 0 to 1: three are red, green, blue; one is grey.
        std: Standard deviation of each channel.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def image(self, path: Path) -> Tensor:
        """Read a file: scale its shorter side, cut out the centre, normalise; ``[C, H, W]``.

        Above 64 pixels the shorter side becomes 256/224 of the size, as is usual.
        """
        pillow = require("PIL.Image", extra="demo")
        kind = "L" if len(self.mean) == 1 else "RGB"
        image = read_image(path, mode=kind)
        short = round(self.size * 256 / 224) if self.size > 64 else self.size
        scale = short / min(image.size)
        if scale != 1:
            width, height = (max(self.size, round(side * scale)) for side in image.size)
            image = image.resize((width, height), pillow.Resampling.BILINEAR)
        left, top = ((side - self.size) // 2 for side in image.size)
        image = image.crop((left, top, left + self.size, top + self.size))
        pixels = torch.from_numpy(np.array(image, dtype=np.float32)) / 255
        pixels = pixels.view(self.size, self.size, -1).permute(2, 0, 1)
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (pixels - mean) / std


class Images(Dataset[tuple[Tensor, int]]):
    """Some files as inputs with their labels; each is read when it is asked for."""

    def __init__(
        self, files: Sequence[Path], labels: Sequence[int], preparation: Preparation
    ) -> None:
        self.files, self.labels, self.preparation = files, labels, preparation

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.preparation.image(self.files[index]), self.labels[index]
