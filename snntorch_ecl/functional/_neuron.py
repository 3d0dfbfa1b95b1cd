"""One step of the dual-threshold neuron (ECL eq. 4-5)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .._util.checks import check_neuron, check_threshold
from .._util.precision import wide
from ..errors import StateError

_is_tracing: Callable[[], bool] = torch.jit.is_tracing  # type: ignore[attr-defined]

SurrogateGradient = Callable[[Tensor], Tensor]
"""A spike function of :mod:`snntorch.surrogate`: Heaviside forward, smooth backward."""


class State(NamedTuple):
    """What a dual-threshold neuron remembers between steps.

    Attributes:
        mem: Membrane potential relative to its start, ``v − v(0)``, shape ``[B, ...]``, so that
            zero means fresh. In float32 also where currents are in half precision: it is a sum
            over time, and small currents would be lost in it.
        spike_count: Net spike count ``n``, shape ``[B, ...]``, int32.
    """

    mem: Tensor
    spike_count: Tensor


class SpikeSize(NamedTuple):
    """One of the sizes that a spike can have, in units of θ unless said otherwise.

    Attributes:
        edge: From this membrane on, a spike of at least this size is fired.
        gain: How much larger it is than the next smaller one, or than no spike.
        units: ``gain`` in units of the smallest size.
        least: The size itself in units of the smallest: the net sum that it needs to be taken back.
    """

    edge: float
    gain: float
    units: int
    least: int


def _sizes(spike_sizes: int) -> tuple[SpikeSize, ...]:
    """The K sizes, the smallest first."""
    unit = 0.5 ** (spike_sizes - 1)
    found = [SpikeSize(unit, unit, 1, 1)]
    for power in range(1, spike_sizes):
        least = 2**power
        # Halfway between this size and the next smaller one, where v(0) is half the smallest.
        edge = (0.75 * least + 0.5) * unit
        found.append(SpikeSize(edge, least * unit / 2, least // 2, least))
    return tuple(found)


SPIKE_SIZES = {count: _sizes(count) for count in range(1, 9)}


def dual_threshold_step(
    current: Tensor,
    state: State,
    threshold: Tensor | float,
    *,
    negative_threshold: float = -1e-3,
    initial_membrane: float = 0.5,
    spike_grad: SurrogateGradient | None = None,
    spike_sizes: int = 1,
) -> tuple[Tensor, State]:
    """Advance dual-threshold neurons by one step.

    ::

        v ← v + I                        charge, no leak
        s = +1  if v ≥ θ                 fire
        s = −1  if v ≤ θ′ and n > 0      take a spike back
        v ← v − θ·s ;  n ← n + s         soft reset, net spike count

    With K = ``spike_sizes`` > 1 a spike has one of the sizes 1, 1/2, … u = 1/2^(K−1), the one that
    leaves the membrane nearest to its start; n counts units of u, and v(0) is relative to u·θ::

        e(u) = u ;  e(s) = 3/4·s + 1/2·u            for s > u: between s and s/2
        +s, the largest with v ≥ e(s)·θ             fire
        −s, the largest with v ≤ θ′ − (e(s) − u)·θ  and n ≥ s/u, so that n never falls below 0

    The state holds ``v − v(0)`` with ``v(0) = initial_membrane · θ``. With ``spike_grad`` the
    spikes carry surrogate gradients through both comparisons, of ``(v − θ)/θ`` and of
    ``(θ′ − v)/θ``; the reset is detached, as in snnTorch. With several sizes these are the
    comparisons of each size, in units of what the size adds to the next smaller one, and weighted
    by it.

    Args:
        current: Input current I, ``[B, ...]``, in the unit of θ.
        state: Membrane and count, each shaped like ``current``; see :func:`fresh_state`.
        threshold: θ > 0: a number, or a tensor that broadcasts to ``current``.
        negative_threshold: θ′ ≤ 0, absolute. ``-inf`` gives the plain integrate-and-fire neuron.
        initial_membrane: v(0) in units of θ (of the smallest spike), within [0, 1].
        spike_grad: Surrogate gradient, or None for spikes without gradient.
        spike_sizes: K, from 1 to 8: spikes of ±1, ±1/2, … ±1/2^(K−1).

    Returns:
        Spikes in {−1, 0, +1}, or of K sizes, shaped and typed like ``current``; the next state.

    Raises:
        ConfigError: θ, θ′, v(0) or K is outside its range.
        StateError: The state's shape differs from the current's.

    Source: ECL eq. 4-5; several sizes are this package's own.

    Example:
        >>> current = torch.tensor([0.8])
        >>> spk, state = dual_threshold_step(current, fresh_state(current), 1.0)
        >>> spk, _ = dual_threshold_step(torch.tensor([-0.8]), state, 1.0)
        >>> spk  # 0.5 + 0.8 − 1 − 0.8 = −0.5: the first spike is taken back
        tensor([-1.])
        >>> current = torch.tensor([0.1, 0.3, 0.6, 0.9])
        >>> dual_threshold_step(current, fresh_state(current), 1.0, spike_sizes=3)[0]
        tensor([0.0000, 0.2500, 0.5000, 1.0000])
    """
    threshold = check_threshold(threshold, like=current)
    check_neuron(negative_threshold, initial_membrane, spike_sizes)
    _check_state(current, state)
    settings = (negative_threshold, initial_membrane, spike_grad, spike_sizes)
    return unchecked_step(current, state, threshold, *settings)


def unchecked_step(
    current: Tensor,
    state: State | None,
    threshold: Tensor,
    negative_threshold: float,
    initial_membrane: float,
    spike_grad: SurrogateGradient | None,
    spike_sizes: int = 1,
    out: Tensor | None = None,
) -> tuple[Tensor, State]:
    """:func:`dual_threshold_step` without checks; None is a fresh state.

    In runs without gradients, spikes can be written to ``out``.
    """
    mem = wide(current) if state is None else wide(state.mem) + current
    sizes = SPIKE_SIZES[spike_sizes]
    # The edges include the start v(0), so that zero state means a fresh neuron.
    edges = _Edges(threshold.to(mem.dtype), negative_threshold, initial_membrane, sizes)
    fires = mem >= edges.upper(sizes[0])
    hard = _ones(fires, current.dtype) if out is None else out.copy_(fires)
    for size in sizes[1:]:
        hard = _plus(hard, mem >= edges.upper(size), size.units)
    before = None if state is None else state.spike_count
    # A fresh neuron has no spike to take back, and a plain integrate-and-fire one never does.
    if negative_threshold == -math.inf:
        before = None
    if before is not None:
        for size in sizes:
            takes_back = (mem <= edges.lower(size)) & (before >= size.least)
            hard = _plus(hard, takes_back, -size.units)
    # Up to here in units of the smallest size.
    count = hard.to(torch.int32) if state is None else state.spike_count + hard.to(torch.int32)
    if spike_sizes > 1:
        hard = hard * sizes[0].gain if _in_graph() else hard.mul_(sizes[0].gain)
    spikes = hard
    if spike_grad is not None and torch.is_grad_enabled():
        soft = _soft_spikes(mem, before, edges, sizes, spike_grad, current.dtype)
        # Surrogates fire on strict >: only their gradient is used, their value cancels exactly.
        spikes = hard + (soft - soft.detach()).to(hard.dtype)
    return spikes, State(torch.addcmul(mem, hard, edges.threshold, value=-1), count)


class _Edges:
    """Where comparisons of a membrane relative to v(0) are made, for each size."""

    def __init__(
        self, threshold: Tensor, negative: float, initial: float, sizes: tuple[SpikeSize, ...]
    ) -> None:
        self.threshold, self.negative, self.unit = threshold, negative, sizes[0].edge
        self.start = initial * self.unit * threshold

    def times(self, factor: float) -> Tensor:
        """A share of θ."""
        return self.threshold if factor == 1 else factor * self.threshold

    def upper(self, size: SpikeSize) -> Tensor:
        """From here on a spike of this size is fired."""
        return self.times(size.edge) - self.start

    def lower(self, size: SpikeSize) -> Tensor:
        """From here down it is taken back: as far below the start as ``upper`` is above, and θ′."""
        if size.edge == self.unit:
            return self.negative - self.start
        return self.negative - self.times(size.edge - self.unit) - self.start


def _soft_spikes(
    mem: Tensor,
    before: Tensor | None,
    edges: _Edges,
    sizes: tuple[SpikeSize, ...],
    spike_grad: SurrogateGradient,
    dtype: torch.dtype,
) -> Tensor:
    """The comparisons by a surrogate; ``before`` is the net count that gates the lower ones."""
    total: Tensor | None = None
    for size in sizes:
        gain = edges.times(size.gain)
        # In the current's type: these distances are saved for the backward pass.
        soft = spike_grad(((mem - edges.upper(size)) / gain).to(dtype))
        if before is not None:
            above = spike_grad(((edges.lower(size) - mem) / gain).to(dtype))
            soft = soft - above * _ones(before >= size.least, above.dtype)
        if size.gain != 1:
            soft = soft * size.gain
        total = soft if total is None else total + soft
    assert total is not None  # there is a size
    return total


def _ones(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """1 where the mask is true, in a form that compiles to fast code on CPUs."""
    if torch.compiler.is_compiling():
        return torch.where(mask, 1.0, 0.0).to(dtype)
    return mask.to(dtype)


def _in_graph() -> bool:
    """Whether the operations are recorded, so that none may work in place."""
    return torch.compiler.is_compiling() or _is_tracing()


def _plus(numbers: Tensor, mask: Tensor, amount: int) -> Tensor:
    """Add an amount where the mask is true, in place if neither compiling nor tracing."""
    if _in_graph():
        return numbers + amount * _ones(mask, numbers.dtype)
    return numbers.add_(mask.view(torch.uint8), alpha=amount)


def fresh_state(current: Tensor) -> State:
    """The state of neurons that have seen nothing: v = v(0), n = 0.

    Args:
        current: One step's input, ``[B, ...]``; gives shape, dtype and device.

    Returns:
        Zero membrane (relative to v(0); float32 for half precision) and zero counts.

    Example:
        >>> fresh_state(torch.rand(2)).spike_count
        tensor([0, 0], dtype=torch.int32)
    """
    return State(torch.zeros_like(wide(current)), torch.zeros_like(current, dtype=torch.int32))


def _check_state(current: Tensor, state: State) -> None:
    if state.mem.shape != current.shape or state.spike_count.shape != current.shape:
        raise StateError(
            f"state (shapes {list(state.mem.shape)}, {list(state.spike_count.shape)}) does not fit "
            f"a current of shape {list(current.shape)}; start with fresh_state(current)"
        )
