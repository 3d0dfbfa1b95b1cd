"""Image data through torchvision: CIFAR, ImageNet, and folders of files.

torchvision and Pillow are imported where they are used: the command line need not wait for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from tqdm import tqdm

from .._util.optional import require
from ..errors import DataError
from ..settings import DataConfig
from ._digits import Split
from ._image_file import read_image

if TYPE_CHECKING:
    from PIL.Image import Image

Transform = Callable[[Any], Tensor]


def _transforms() -> Any:
    """The module that varies images."""
    return require("torchvision.transforms.v2", extra="train")


def _datasets() -> Any:
    """The module of data sets."""
    return require("torchvision.datasets", extra="train")


def train_transform(config: DataConfig) -> Transform:
    """Crop, flip, AutoAugment, normalise and Cutout, as the literature trains."""
    v2, size = _transforms(), config.image_size
    steps: list[Any] = []
    if size > 64:
        steps.append(v2.RandomResizedCrop(size, antialias=True))
    else:
        steps.append(_Sized(size))
        if config.crop_padding:
            steps.append(v2.RandomCrop(size, padding=config.crop_padding))
    if config.flip:
        steps.append(v2.RandomHorizontalFlip())
    if config.auto_augment != "none":
        steps.append(v2.AutoAugment(v2.AutoAugmentPolicy(config.auto_augment)))
    steps += _to_tensor(config)
    if config.cutout:
        share = (config.cutout / size) ** 2
        steps.append(v2.RandomErasing(p=1.0, scale=(share, share), ratio=(1.0, 1.0)))
    return cast(Transform, v2.Compose(steps))


def test_transform(config: DataConfig) -> Transform:
    """Resize (and crop the centre of large images), normalise."""
    v2, size = _transforms(), config.image_size
    if size > 64:
        # The usual 256 for 224.
        shape: list[Any] = [v2.Resize(round(size * 256 / 224), antialias=True), v2.CenterCrop(size)]
    else:
        shape = [_Sized(size)]
    return cast(Transform, v2.Compose([*shape, *_to_tensor(config)]))


# pytest would take it for a test where it is imported.
test_transform.__test__ = False  # type: ignore[attr-defined]


class _Sized:
    """Resize images that do not have the size already."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Image) -> Image:
        shape = (self.size, self.size)
        if image.size == shape:
            return image
        pillow = require("PIL.Image", extra="train")
        return image.resize(shape, pillow.Resampling.BILINEAR)


def _to_tensor(config: DataConfig) -> list[Any]:
    """The last steps of both: floating point, normalised."""
    v2 = _transforms()
    return [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(config.mean), list(config.std)),
    ]


def open_images(config: DataConfig, root: Path) -> tuple[Split, tuple[str, ...]]:
    """Open CIFAR, ImageNet or a folder; see :func:`snntorch_ecl.experiments.load_data`."""
    transforms = (train_transform(config), test_transform(config))
    if config.name == "folder":
        return _open_folder(config, root, transforms)
    if config.name == "imagenet" and not root.is_dir():
        raise DataError(f"there is no folder {root}; ImageNet has to be downloaded by hand")
    open_part, settings = _of_torchvision(config.name, root)
    try:
        parts = [
            open_part(transform=transform, **options)
            for transform, options in zip(transforms, settings, strict=True)
        ]
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"{config.name} cannot be opened or downloaded at {root}: {error}"
        ) from error
    return Split(*parts), tuple(str(name) for name in parts[0].classes)


def _of_torchvision(name: str, root: Path) -> tuple[Callable[..., Any], list[dict[str, Any]]]:
    """What opens a data set of torchvision, and how it calls the training and the test part."""
    datasets = _datasets()
    if name == "imagenet":
        return partial(datasets.ImageNet, root), [{"split": "train"}, {"split": "val"}]
    known = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
    return partial(known[name], root, download=True), [{"train": True}, {"train": False}]


def _open_folder(
    config: DataConfig, root: Path, transforms: tuple[Transform, Transform]
) -> tuple[Split, tuple[str, ...]]:
    """A folder with ``train`` and ``test`` (or ``val``), a folder for each class in both."""
    test_name = "test" if (root / "test").is_dir() else "val"
    train, test = (
        _folder_part(config, root, name, transform)
        for name, transform in zip(("train", test_name), transforms, strict=True)
    )
    if len(train.classes) < 2:
        raise DataError(
            f"{root}/train has the one class folder {train.classes[0]!r}; a classifier needs at "
            "least two"
        )
    if train.classes != test.classes:
        raise DataError(
            f"{root}/train and {root}/{test_name} have different classes: {train.classes} and "
            f"{test.classes}"
        )
    return Split(train, test), tuple(train.classes)


def _folder_part(config: DataConfig, root: Path, name: str, transform: Transform) -> Any:
    """The images of one of the folders."""
    folder = root / name
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}; a folder data set has {root}/train/<class>/ and "
            f"{root}/test/<class>/ (or val)"
        )
    _refuse_repeated(folder)
    try:
        part = _datasets().ImageFolder(str(folder), transform=transform, loader=_open_image)
    except FileNotFoundError as error:
        raise DataError(f"{folder} has no images in class folders: {error}") from error
    if config.on_corrupt == "skip":
        _skip_corrupt(part, folder)
    return part


def _open_image(path: str) -> Image:
    """One file in colour; :class:`DataError` names one that is no image."""
    return read_image(path, remedy="remove it, or set data.on_corrupt to skip")


def _refuse_repeated(folder: Path) -> None:
    """Refuse folders that symbolic links lead to again: their images would count more than once.

    Links that lead elsewhere are followed; those in a circle, and doubled ones, have no end.
    """
    seen: dict[str, str] = {}
    for place, _, _ in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            raise DataError(
                f"{place} is the same folder as {seen[real]}, through a symbolic link; remove one"
            )
        seen[real] = place


def _skip_corrupt(part: Any, folder: Path) -> None:
    """Leave out files that are no images, and say how many."""
    good = []
    for path, label in tqdm(part.samples, desc=f"check {folder.name}", delay=2, leave=False):
        try:
            _open_image(path)
        except DataError:
            continue
        good.append((path, label))
    skipped = len(part.samples) - len(good)
    if not good:
        raise DataError(f"none of the {skipped} files in {folder} is a readable image")
    if skipped:
        tqdm.write(f"{folder}: {skipped} of {len(part.samples)} files are no images; skipped")
    part.samples = part.imgs = good
    part.targets = [label for _, label in good]
