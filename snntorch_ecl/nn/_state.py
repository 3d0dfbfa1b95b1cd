"""The state that a layer keeps for a batch, and the counts that belong to membranes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import functional as F
from .._util.checks import at
from .._util.precision import wide_type
from .._util.torch_internals import can_be_read, is_compiling, is_gone, memory_of, version_of
from ..errors import StateError
from ._temporal import changed_shape


class BatchState:
    """The state of a layer for a batch, in parts if the batch ran in groups of images.

    The parts are joined when the state is read, which is rare. ``fresh`` is the state before the
    first step: a tensor or None for each of its components.

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
        """Make it fresh, and drop the stored parts."""
        self._parts: list[tuple[Tensor | None, ...]] = [self._fresh]
        self._parked: list[tuple[Tensor | None, ...]] = []
        self._changes: int | None = None  # how often the membrane had been changed in place
        self.only_step = False  # True within a run of one step, of which nothing need be kept

    def get(self) -> tuple[Any, ...]:
        """The state of the whole batch."""
        if len(self._parts) > 1:
            columns = zip(*self._parts, strict=True)
            self._parts = [tuple(_joined(column) for column in columns)]
            self._changes = None
        return self._parts[0]

    def set(self, *tensors: Tensor | None) -> None:
        """Replace the state."""
        self._parts = [tensors]
        first = None if is_compiling() else tensors[0]
        self._changes = None if first is None else version_of(first)

    def is_zeroed(self, name: str) -> bool:
        """Whether the membrane was set to zero in place, which makes a neuron fresh.

        Another change in place leaves no count.
        """
        mem = self._parts[0][0]
        if self._changes is None or mem is None or len(self._parts) > 1:
            return False
        if version_of(mem) == self._changes or not can_be_read(mem):
            return False
        if bool(mem.detach().any()):
            raise StateError(
                f"{at(name)}mem was changed in place, so its net spike count is not known: assign "
                "`neuron.mem = mem` to begin there with count 0, or call reset_mem()"
            )
        return True

    def park(self) -> None:
        """Store the state and go on from a fresh one."""
        self._parked.append(self.get())
        self._parts, self._changes = [self._fresh], None

    def unpark(self) -> None:
        """The run is over: put the stored parts before the present one."""
        self.only_step = False
        self._parts = [*self._parked, *self._parts]
        self._parked = []


_NO_ROWS = torch.zeros(0)  # the membrane before the first step


class NeuronState(BatchState):
    """Membrane and net spike count (None before the first step), and what belongs to a run."""

    def __init__(self, thread: int | None = None) -> None:
        super().__init__(_NO_ROWS, None)
        self.thread = thread  # the one that runs the neuron, from begin() to end()
        self.mem_sum: Tensor | None = None  # if the loop has computed it
        self.checked = False  # True within a run whose begin() has checked the settings

    def set(self, *tensors: Tensor | None) -> None:
        """Replace the state."""
        super().set(*tensors)
        self.mem_sum = None

    def advance(self, state: F.State | None, mem_sum: Tensor | None) -> None:
        """Replace the state by the one after a run, or after an only step leave it fresh."""
        if state is not None:
            self.set(*state)
        self.mem_sum = mem_sum

    @property
    def is_fresh(self) -> bool:
        """Whether no step has been taken."""
        return self.get()[1] is None


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    tensors = [part for part in parts if part is not None]
    return torch.cat(tensors) if len(tensors) == len(parts) else None


def one_step(
    current: Tensor, *, state: F.State | None, threshold: Tensor, **settings: Any
) -> tuple[Tensor, F.State]:
    """A single step of neurons, from their start if they have no state yet."""
    return F.dual_threshold_step(current, state or F.fresh_state(current), threshold, **settings)


def state_for(current: Tensor, mem: Tensor, count: Tensor | None, name: str) -> F.State | None:
    """A neuron's state for currents ``[B, ...]``; None if it is fresh and of another shape."""
    if mem.shape == current.shape:
        mem = mem.to(current.device, wide_type(current.dtype))
        if count is None:
            count = torch.zeros_like(mem, dtype=torch.int32)
        return F.State(mem, count.to(current.device))
    # A compiled graph cannot branch on values: there a reset neuron accepts any shape.
    unused = not mem.numel() or not can_be_read(mem) or not bool(mem.any())
    if count is not None or not unused:
        raise changed_shape(name, mem, current)
    return None


class Counts:
    """The net spike counts of the membranes that a neuron has returned, while these exist.

    Example:
        >>> counts, mem = Counts(), torch.zeros(2)
        >>> counts.remember(mem, torch.tensor([1, 0]))
        >>> counts.count_of(mem.detach()), counts.count_of(mem.clone())
        (tensor([1, 0]), None)
    """

    def __init__(self) -> None:
        # By memory: the count, and in which state and layout the membrane was returned.
        self._by_memory: dict[Any, tuple[Tensor, Any]] = {}

    def remember(self, mem: Tensor, count: Tensor) -> None:
        """Store the count that belongs to a membrane; drop those of freed membranes."""
        gone = [memory for memory in self._by_memory if is_gone(memory)]
        for memory in gone:
            del self._by_memory[memory]
        self._by_memory[memory_of(mem)] = count, _as_returned(mem)

    def count_of(self, mem: Tensor) -> Tensor | None:
        """The count of a returned membrane, detached or not; None if it is a part, or changed."""
        count, returned = self._by_memory.get(memory_of(mem), (None, None))
        return count if returned == _as_returned(mem) else None

    def count_for(
        self, mem: Tensor, last: Tensor, count: Tensor | None, name: str
    ) -> Tensor | None:
        """The count that belongs to ``mem``; None starts again; ``last`` is what was returned last.

        A membrane that was not returned is refused, except zeros and a copy of the last one.
        """
        if is_compiling():  # a graph cannot depend on values
            if mem is last or count is None or mem.shape != last.shape:
                return count if mem is last else None
            return count * (mem.detach() == last.detach()).all()
        known = self.count_of(mem)
        if known is not None:
            return known
        # What was changed in place is no copy, though it equals itself.
        copied = memory_of(mem) not in self._by_memory and mem.shape == last.shape
        if copied and torch.equal(mem.detach().to(last), last.detach()):
            return count
        if not bool(mem.detach().any()):
            return None
        raise StateError(
            f"{at(name)}mem of shape {list(mem.shape)} is not what this neuron has returned, so "
            "its net spike count is not known. Pass on the returned mem, begin anew with "
            "reset_mem() or zeros, go on with some images by select(), or assign neuron.mem = mem "
            "to begin there with count 0"
        )


def _as_returned(mem: Tensor) -> tuple[Any, ...]:
    return version_of(mem), mem.shape, mem.stride(), mem.storage_offset()
