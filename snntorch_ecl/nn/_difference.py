"""What is not affine, carried over time exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .._util.precision import wide
from .._util.torch_internals import can_be_read, memory_of, records_nothing
from ..functional._layout import layout_of, room_for
from ._state import BatchState
from ._temporal import Temporal, changed_shape, unfold


class Difference(nn.Module, Temporal):
    r"""Emits a current whose mean over time is a function of the mean input.

    Averages over time pass only through affine layers. Any other function :math:`f` is carried
    exactly by emitting how much its value has grown: with :math:`X(t)` the sum of the inputs so
    far,

    .. math:: y(t) = t · f(X(t) / t) − (t − 1) · f(X(t−1) / (t−1))

    so that :math:`Σ_{τ≤t} y(τ) / t = f(X(t) / t)` at every t. Its output is a graded current, and
    it computes in floating point at every step; ``energy`` says so.

    Args:
        function: f, a layer or a function of tensors ``[B, ...]`` that treats images one by one.
        streams: How many of its arguments change over time; those behind are constants. A product
            of two streams is f with two.
        homogeneous: Whether f(a · x) = a · f(x) for a > 0, as of a maximum: then t drops out.

    Shape:
        Inputs ``[T·B, ...]``, time-major; output ``[T·B, ...]``, as f shapes it.

    Raises:
        StateError: A shape changed in the middle of a sequence.

    Example:
        >>> layer = Difference(torch.square)
        >>> steps = layer(torch.tensor([1.0, 3.0]), num_steps=2)  # means 1 and 2, squared 1 and 4
        >>> steps.cumsum(0) / torch.tensor([1.0, 2.0])
        tensor([1., 4.])
    """

    def __init__(
        self, function: Callable[..., Any], *, streams: int = 1, homogeneous: bool = False
    ) -> None:
        super().__init__()
        self.function = function
        self.streams, self.homogeneous = streams, homogeneous
        self.qualified_name = ""  # for errors; convert() sets it
        self._fresh()

    def _fresh(self) -> None:
        self._state = BatchState(*[None] * (self.streams + 1))  # running sums, and f of them
        self._taken = 0  # steps since the sequence began

    def forward(self, *inputs: Tensor, num_steps: int = 1, held: int = 1) -> Tensor:
        """Emit the changes of ``num_steps`` steps; see :func:`~snntorch_ecl.nn.unfold`."""
        if (
            self._state.only_step
            and _only_reads(self.function)
            and records_nothing(*inputs[: self.streams])
        ):
            return self._only_step(inputs)
        steps = [unfold(x, num_steps, held) for x in inputs[: self.streams]]
        *totals, before = self._state.get()
        for total, step in zip(totals, steps, strict=True):
            if total is not None and total.shape != step.shape[1:]:
                raise changed_shape(self.qualified_name, total, step[0])
        changes = _Changes(steps)
        # Steps from which on the sums lie in memory of this run alone, which no value shares.
        own = num_steps if self.homogeneous else 2 if before is None else 1
        # A plain loop: cumsum sums in double precision and would differ from single steps. Step by
        # step, one running sum is kept instead of T.
        for index, now in enumerate(zip(*steps, strict=True)):
            in_place = changes.are_written and index >= own
            totals = [_plus(*pair, in_place=in_place) for pair in zip(totals, now, strict=True)]
            self._taken += 1
            value = self._grown(totals, now[0].dtype, inputs[self.streams :])
            changes.add(value, before)
            before = value
        self._state.set(*totals, before)
        return changes.joined(copy=self._taken == 1)

    def _only_step(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """F itself, of which nothing is kept."""
        streams = inputs[: self.streams]
        value: Tensor = self.function(*inputs)
        value = value.to(streams[0].dtype)
        if not can_be_read(value) or not value.is_contiguous(memory_format=layout_of(value)):
            return torch.cat([value])
        memory = memory_of(value)
        shared = any(memory_of(x) == memory for x in inputs if isinstance(x, Tensor))
        return torch.cat([value]) if shared else value

    def _grown(
        self, totals: list[Tensor], dtype: torch.dtype, constants: tuple[Any, ...]
    ) -> Tensor:
        """The sum of all outputs so far: t · f(X / t)."""
        if self.homogeneous:
            pooled: Tensor = self.function(*totals, *constants)
            return pooled
        means = [(total / self._taken).to(dtype) for total in totals]
        value = wide(self.function(*means, *constants))
        # What is multiplied by 1 need not be read and written for it.
        return value if self._taken == 1 and value.is_floating_point() else value * self._taken

    def reset_mem(self) -> None:
        """Forget the running sums."""
        self._state.clear()
        self._taken = 0

    def park(self) -> None:
        """Store the running sums of this group of images; begin the next group fresh."""
        self._state.park()
        self._taken = 0

    def end(self) -> None:
        """Join the stored running sums of all groups."""
        self._state.unpark()

    @property
    def rows(self) -> int | None:
        """Number of rows of the running batch; None before it begins."""
        total = self._state.get()[0]
        return None if total is None else len(total)

    @property
    def stream_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the running sums of its streams, ``[B, ...]``; empty before a sequence."""
        totals = self._state.get()[: self.streams]
        return [tuple(total.shape) for total in totals if total is not None]

    def select(self, rows: Tensor) -> None:
        """Go on with some images of the running batch; ``rows`` ``[B]`` is a mask."""
        self._each(lambda part: part[rows])

    def detach_state(self) -> None:
        """Cut the running sums off the graph of the steps so far."""
        self._each(lambda part: part.detach())

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Move the running sums to the new device or dtype as well."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._each(fn)
        return self

    def _each(self, fn: Callable[[Tensor], Tensor]) -> None:
        self._state.set(*(None if part is None else fn(part) for part in self._state.get()))

    def __getstate__(self) -> dict[str, object]:
        """Everything except the running sums, which belong to a sequence."""
        fresh = BatchState(*[None] * (self.streams + 1))
        return {**self.__dict__, "_state": fresh, "_taken": 0}

    def extra_repr(self) -> str:
        """What it carries, if that is no layer."""
        return "" if isinstance(self.function, nn.Module) else str(self.function)


class _Changes:
    """What is emitted: written where it will lie, or kept step by step if that is recorded."""

    def __init__(self, streams: list[Tensor]) -> None:
        self._num_steps, self._dtype = len(streams[0]), streams[0].dtype
        self.are_written = self._num_steps > 1 and records_nothing(*streams)
        self._room: Tensor | None = None
        self._kept: list[Tensor] = []

    def add(self, value: Tensor, before: Tensor | None) -> None:
        """One step's change."""
        if not (self.are_written and value.is_floating_point() and records_nothing(value)):
            self.are_written = False
            change = value if before is None else value - before
            self._kept.append(change.to(self._dtype))
            return
        if self._room is None:
            self._room = room_for(value.expand(self._num_steps, *value.shape), self._dtype)
        place = self._room[len(self._kept)]
        self._kept.append(
            place.copy_(value) if before is None else torch.sub(value, before, out=place)
        )

    def joined(self, *, copy: bool) -> Tensor:
        """All steps ``[T·B, ...]``; ``copy``: in memory of their own, also if it is one step."""
        if self._room is not None:
            return self._room.flatten(0, 1)
        return self._kept[0] if len(self._kept) == 1 and not copy else torch.cat(self._kept)


def _only_reads(function: Callable[..., Any]) -> bool:
    """Whether a function is known to leave its arguments as they are."""
    if not isinstance(function, nn.Module):
        return bool(getattr(function, "only_reads", False))
    return all(
        type(module).__module__.startswith("torch.nn.modules.")
        and not getattr(module, "inplace", False)
        for module in function.modules()
    )


def _plus(total: Tensor | None, step: Tensor, *, in_place: bool) -> Tensor:
    if total is None:
        return wide(step)
    return total.add_(step) if in_place else total + step
