"""The order and variation of training data: the same however a run is cut up or spread out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler


class EpochSampler(DistributedSampler[Any]):
    """A shuffled order that depends on seed and epoch alone, split over processes.

    Yields ``(epoch, index)``, so that :class:`Indexed` knows the epoch in any worker. Batch k of
    all processes together holds the same samples as batch k of one process alone.
    """

    begun: tuple[int, int] = (0, 0)
    """An epoch, and how many samples of it a run that goes on has seen."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, seen = self.begun
        indices = islice(super().__iter__(), seen if epoch == self.epoch else 0, None)
        return ((self.epoch, index) for index in indices)


class Indexed(Dataset[tuple[Tensor, Any]]):
    """Gives each sample its own random numbers, by seed, epoch and index.

    So the variation of an image depends neither on the number of workers or machines nor on
    whether a run was interrupted.
    """

    def __init__(self, data: Dataset[tuple[Tensor, Any]], seed: int) -> None:
        self.data = data
        self.seed = seed

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Any]:
        epoch, index = key
        generator = torch.default_generator
        before = generator.get_state()
        # Hashed into 32 bits: torch's CPU generator ignores the upper half of a longer seed.
        generator.manual_seed(hash((self.seed, epoch, index)) & 0xFFFF_FFFF)
        try:
            return self.data[index]
        finally:
            generator.set_state(before)
