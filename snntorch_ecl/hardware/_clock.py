"""Layers that depend on a clock: an input shown for some steps, and windows for spikes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .._util.checks import at
from .._util.torch_internals import can_be_read
from ..errors import StateError
from ..graph._registry import LayerKind, add
from ..nn._temporal import Temporal, unfold


class Clock(nn.Module, Temporal):
    """Counts the steps of a sequence; what derives from it sees the number of each step."""

    def __init__(self) -> None:
        super().__init__()
        self._taken = 0  # steps since the sequence began

    def forward(self, input_: Tensor, *, num_steps: int = 1, held: int = 1) -> Tensor:
        """Run ``[T·B, ...]``; see :func:`snntorch_ecl.nn.unfold`."""
        numbers = range(self._taken, self._taken + num_steps)
        self._taken += num_steps
        return self.at(unfold(input_, num_steps, held), numbers).flatten(0, 1)

    def at(self, steps: Tensor, numbers: range) -> Tensor:
        """What becomes of the values ``[T, B, ...]`` of the steps with these numbers."""
        raise NotImplementedError

    def reset_mem(self) -> None:
        """Start again at the first step."""
        self._taken = 0

    def park(self) -> None:
        """Start again: the clock is the same for all images."""
        self._taken = 0

    def select(self, rows: Tensor) -> None:
        """Go on with some images: the clock is the same for all."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_taken": 0}


class Shown(Clock):
    """Shows its input for the first T steps, and nothing after them.

    Args:
        num_steps: T.

    Example:
        >>> Shown(2)(torch.ones(3, 1), num_steps=3).flatten().tolist()
        [1.0, 1.0, 0.0]
    """

    def __init__(self, num_steps: int) -> None:
        super().__init__()
        self.num_steps = num_steps

    def at(self, steps: Tensor, numbers: range) -> Tensor:
        """Zeros from step T on."""
        shown = max(0, min(self.num_steps - numbers.start, len(numbers)))
        return torch.cat([steps[:shown], torch.zeros_like(steps[shown:])])

    def extra_repr(self) -> str:
        return f"num_steps={self.num_steps}"


class Window(Clock):
    """Passes spikes on, and sees that none comes at a step when its neuron must be silent.

    It is no part of a chip: it finds neurons that clock pulses do not hold down.

    Args:
        first: The first step at which the neuron may fire, counted from 0.
        num_steps: For how many steps it may.
        name: Of the neuron, for the error.

    Raises:
        StateError: A spike came earlier or later.

    Example:
        >>> Window(1, 2, "relu")(torch.tensor([0.0, 1.0, 1.0]), num_steps=3).tolist()
        [0.0, 1.0, 1.0]
    """

    def __init__(self, first: int, num_steps: int, name: str) -> None:
        super().__init__()
        self.first, self.num_steps, self.name = first, num_steps, name

    def at(self, steps: Tensor, numbers: range) -> Tensor:
        """The same values, where they are allowed."""
        allowed = range(self.first, self.first + self.num_steps)
        silent = [index for index, number in enumerate(numbers) if number not in allowed]
        if silent and can_be_read(steps) and bool(steps[silent].any()):
            raise StateError(
                f"{at(self.name)}it fired outside steps {self.first + 1} to {allowed.stop}: its "
                "current is larger than any in the data that settle_then_fire measured. Give it "
                "data with such images, or a larger margin"
            )
        return steps

    def extra_repr(self) -> str:
        return f"first={self.first}, num_steps={self.num_steps}"


add(Shown, Window, kind=LayerKind(cost="free", scale="passes", keeps_dims=True, whole="keeps"))
