"""What a layer with state remembers of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._util.torch_internals import StorageWeakRef


class BatchState:
    """What a layer remembers of a batch, in parts where the batch ran in groups of images.

    Parts are joined once somebody asks: most often nobody does.

    Args:
        *fresh: What it is before the first step: a tensor, or None, for each part of the state.

    Example:
        >>> state = BatchState(None)
        >>> state.set(torch.tensor([1.0]))
        >>> state.park()
        >>> state.set(torch.tensor([2.0]))
        >>> state.unpark()
        >>> state.get()
        (tensor([1., 2.]),)
    """

    def __init__(self, *fresh: Tensor | None) -> None:
        self._fresh = fresh
        self.clear()

    def clear(self) -> None:
        """Make it fresh, and forget what was set aside."""
        self._parts: list[tuple[Tensor | None, ...]] = [self._fresh]
        self._parked: list[tuple[Tensor | None, ...]] = []

    def get(self) -> tuple[Any, ...]:
        """The state of the whole batch."""
        if len(self._parts) > 1:
            columns = zip(*self._parts, strict=True)
            self._parts = [tuple(_joined(column) for column in columns)]
        return self._parts[0]

    def set(self, *tensors: Tensor | None) -> None:
        """Replace it."""
        self._parts = [tensors]

    def park(self) -> None:
        """Set it aside and go on from a fresh one."""
        self._parked.append(self.get())
        self._parts = [self._fresh]

    def unpark(self) -> None:
        """Take back what was set aside, ahead of what came since."""
        self._parts = [*self._parked, *self._parts]
        self._parked = []


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    tensors = [part for part in parts if part is not None]
    return torch.cat(tensors) if len(tensors) == len(parts) else None


class Counts:
    """The net spike counts of the membranes that a neuron has handed out, as long as these live.

    Example:
        >>> counts, mem = Counts(), torch.zeros(2)
        >>> counts.remember(mem, torch.tensor([1, 0]))
        >>> counts.count_of(mem.detach()), counts.count_of(mem.clone())
        (tensor([1, 0]), None)
    """

    def __init__(self) -> None:
        self._by_memory: dict[StorageWeakRef, Tensor] = {}

    def remember(self, mem: Tensor, count: Tensor) -> None:
        """Keep the count that belongs to a membrane; forget those of membranes that are gone."""
        gone = [memory for memory in self._by_memory if memory.expired()]
        for memory in gone:
            del self._by_memory[memory]
        self._by_memory[StorageWeakRef(mem.untyped_storage())] = count

    def count_of(self, mem: Tensor) -> Tensor | None:
        """The count of a membrane, detached or not; None if it was not handed out whole."""
        count = self._by_memory.get(StorageWeakRef(mem.untyped_storage()))
        return count if count is not None and count.shape == mem.shape else None
