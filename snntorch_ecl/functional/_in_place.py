"""The time loop where no gradients are recorded, in memory that every step uses again.

The equations are those of :func:`~snntorch_ecl.functional.dual_threshold_step`, and all values are
equal bit for bit. What differs is what moves through memory: membranes and counts are changed where
they lie, and comparisons write 0 and 1 as numbers, which a CPU does several times as fast as
booleans that are made numbers afterwards.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._util.precision import wide, wide_type
from .._util.torch_internals import records_nothing
from ._edges import SPIKE_SIZES, CountBounds, Edges, Net, SpikeSize
from ._layout import room_for
from ._neuron import State


def works_in_place(*tensors: Tensor) -> bool:
    """Whether nothing is recorded, on a device where comparisons are known to write numbers."""
    return tensors[0].device.type in ("cpu", "cuda") and records_nothing(*tensors)


def scan_in_place(
    current: Tensor,
    state: State | None,
    threshold: Tensor,
    negative_threshold: float,
    initial_membrane: float,
    spike_sizes: int,
    count_bounds: CountBounds,
) -> tuple[Tensor, State]:
    """Spikes of currents ``[T, B, ...]``, and the state after them; ``state`` stays as it is."""
    spikes, dtype = room_for(current), wide_type(current.dtype)
    if state is not None:
        dtype = torch.promote_types(dtype, wide_type(state.mem.dtype))
    sizes = SPIKE_SIZES[spike_sizes]
    edges = Edges(threshold.to(dtype), negative_threshold, initial_membrane, sizes)
    mem = torch.empty_like(spikes[0], dtype=dtype)
    neurons = _Neurons(state, mem, edges, sizes, count_bounds, once=len(current) == 1)
    for now, out in zip(current, spikes, strict=True):
        neurons.step(now, out)
    return spikes, neurons.state


def first_spikes(
    current: Tensor,
    threshold: Tensor,
    *,
    negative_threshold: float,
    initial_membrane: float,
    spike_sizes: int,
    count_bounds: CountBounds,
) -> Tensor:
    """The spikes of fresh neurons in one step, ``[1, B, ...]``, without the state after it."""
    spikes, dtype, sizes = room_for(current), wide_type(current.dtype), SPIKE_SIZES[spike_sizes]
    edges = Edges(threshold.to(dtype), negative_threshold, initial_membrane, sizes)
    mask = torch.empty_like(spikes[0], dtype=dtype)
    neurons = _Neurons(None, mask, edges, sizes, count_bounds, once=True)
    neurons.fire(current[0], spikes[0])
    if spike_sizes > 1:
        spikes.mul_(sizes[0].gain)
    return spikes


class _Neurons:
    """A layer's neurons. Counts are kept in floating point, which is exact up to 2²⁴."""

    def __init__(
        self,
        begun: State | None,
        mem: Tensor,
        edges: Edges,
        sizes: tuple[SpikeSize, ...],
        bounds: CountBounds,
        *,
        once: bool,
    ) -> None:
        self._edges, self._sizes, self._bounds, self._once = edges, sizes, bounds, once
        self._mem, self._mask = mem, torch.empty_like(mem)
        self._before = None if begun is None else wide(begun.mem)
        self._count = None if begun is None else begun.spike_count.to(mem.dtype, copy=True)
        self._is_first = True

    @property
    def state(self) -> State:
        """What they remember after a step."""
        assert self._count is not None
        return State(self._mem, self._count.to(torch.int32))

    def step(self, current: Tensor, out: Tensor) -> None:
        """Advance by one step; the spikes are written to ``out``."""
        mem = self.fire(current, out)
        if self._count is None:
            self._count = out.to(torch.int32 if self._once else self._mem.dtype, copy=True)
        else:
            self._count.add_(out)
        if len(self._sizes) > 1:
            out.mul_(self._sizes[0].gain)
        torch.addcmul(mem, out, self._edges.threshold, value=-1, out=self._mem)

    def fire(self, current: Tensor, out: Tensor) -> Tensor:
        """Charge, and write spikes to ``out`` in units of the smallest; before the reset."""
        mem = self._charged(current)
        net = Net(self._count, *self._bounds)
        for size in self._sizes:
            least = size.least == 1
            fires = torch.ge(mem, self._edges.upper(size), out=out if least else self._mask)
            self._gate(fires, net, size.least)
            if not least:
                out.add_(fires, alpha=size.units)
        for size in self._sizes if net.may_fall(self._edges.negative) else ():
            falls = self._edges.below(mem, size, out=self._mask)
            out.sub_(self._gate(falls, net, -size.least), alpha=size.units)
        return mem

    def _charged(self, current: Tensor) -> Tensor:
        """Membranes with a step's current: the current itself, if it is the first of all."""
        if not self._is_first:
            return self._mem.add_(current)
        self._is_first = False
        if self._before is None:
            return wide(current)
        return torch.add(self._before, current, out=self._mem)

    def _gate(self, mask: Tensor, net: Net, change: int) -> Tensor:
        """The mask where the count may change by so much, else 0; in place."""
        if change == -1 and net.least == 0 and net.before is not None:
            # Counts are 0, 1, 2, …: 0 stops, more does nothing. Only a given one can be below 0.
            torch.minimum(mask, net.before, out=mask)
            return mask if self._before is None else mask.clamp_(min=0)
        allowed = net.allows(change)
        return mask if allowed is True else mask.mul_(allowed)
