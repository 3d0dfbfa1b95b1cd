"""Exact max-pooling over spikes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .._util.precision import wide
from ._state import BatchState
from ._temporal import Temporal, changed_shape, unfold


class SignedMaxPool(nn.Module, Temporal):
    r"""Max-pooling whose output, summed over time, is the max-pooling of the summed input.

    A maximum is not linear, so pooling each step's spikes is wrong. Signed spikes allow what
    binary ones do not: emit the *change* of the pooled running sum,

    .. math:: o(t) = \mathrm{pool}(Σ_{τ≤t} x(τ)) − \mathrm{pool}(Σ_{τ<t} x(τ))

    If the spikes of a window share one threshold, θ·{−1, 0, +1}, so does the output. The sums are
    equal for any input, currents included.

    Args:
        pool: The max-pooling layer, of any kind and dimension.

    Shape:
        Input ``[T·B, ...]``, output ``[T·B, ...]`` pooled; time-major.

    Raises:
        StateError: The shape changed in the middle of a sequence.

    Example:
        >>> pool = SignedMaxPool(nn.MaxPool1d(2))
        >>> spikes = torch.tensor([[[1.0, 0.0]], [[-1.0, 1.0]], [[0.0, 1.0]]])
        >>> pool(spikes, num_steps=3).flatten().tolist()  # running maxima 1, 1, 2
        [1.0, 0.0, 1.0]
    """

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool
        self.qualified_name = ""  # for errors; convert() sets it
        self._state = BatchState(None, None)  # running sum, and that sum pooled

    def forward(self, input_: Tensor, *, num_steps: int = 1, held: int = 1) -> Tensor:
        """Pool ``num_steps`` steps; see :func:`~snntorch_ecl.nn.unfold`."""
        steps = unfold(input_, num_steps, held)
        total, before = self._state.get()
        if total is not None and total.shape != steps.shape[1:]:
            raise changed_shape(self.qualified_name, total, steps[0])
        changes: list[Tensor] = []
        # A plain loop: cumsum sums in double precision and would differ from single steps. Step by
        # step, one running sum is kept instead of T.
        for step in steps:
            total = wide(step) if total is None else total + step
            pooled = self.pool(total)
            change = pooled if before is None else pooled - before
            changes.append(change.to(step.dtype))
            before = pooled
        self._state.set(total, before)
        return torch.cat(changes)

    def reset_mem(self) -> None:
        """Forget the running sum."""
        self._state.clear()

    def park(self) -> None:
        """Store the running sum of this group of images; begin the next group fresh."""
        self._state.park()

    def end(self) -> None:
        """Join the stored running sums of all groups."""
        self._state.unpark()

    @property
    def rows(self) -> int | None:
        """Number of rows of the running batch; None before it begins."""
        total, _ = self._state.get()
        return None if total is None else len(total)

    def select(self, rows: Tensor) -> None:
        """Go on with some images of the running batch; ``rows`` ``[B]`` is a mask."""
        self._state.set(*(None if part is None else part[rows] for part in self._state.get()))

    def detach_state(self) -> None:
        """Cut the running sum off the graph of the steps so far."""
        self._state.set(*(None if part is None else part.detach() for part in self._state.get()))

    def _apply(self, fn: Any, recurse: bool = True) -> SignedMaxPool:
        """Move the running sum to the new device or dtype as well."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._state.set(*(None if part is None else fn(part) for part in self._state.get()))
        return self

    def __getstate__(self) -> dict[str, object]:
        """Everything except the running sum, which belongs to a sequence."""
        return {**self.__dict__, "_state": BatchState(None, None)}
