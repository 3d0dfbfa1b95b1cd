"""One step of the dual-threshold neuron (ECL eq. 4-5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .._util.checks import check_neuron, check_threshold
from .._util.precision import wide
from ..errors import StateError
from ._edges import RECTIFIED, SPIKE_SIZES, CountBounds, Edges, Net, SpikeSize, in_graph, ones

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


def dual_threshold_step(
    current: Tensor,
    state: State,
    threshold: Tensor | float,
    *,
    negative_threshold: float = -1e-3,
    initial_membrane: float = 0.5,
    spike_grad: SurrogateGradient | None = None,
    spike_sizes: int = 1,
    count_bounds: CountBounds = RECTIFIED,
) -> tuple[Tensor, State]:
    """Advance dual-threshold neurons by one step.

    ::

        v ← v + I                        charge, no leak
        s = +1  if v ≥ θ and n < n_max   fire
        s = −1  if v ≤ θ′ and n > n_min  take a spike back
        v ← v − θ·s ;  n ← n + s         soft reset, net spike count

    ``count_bounds`` are n_min and n_max. The paper's neuron has n_min = 0 and no n_max: its output,
    like that of ReLU, never adds up to less than 0. θ′ = 0 means v < 0, without equality: the reset
    leaves a neuron that has caught up with its input at 0 ≤ v < θ, and 0 is in this range.

    *Signed values* need no bound at all, and θ′ = 0. Then, for a constant current I and
    v(0) = θ/2, the count after t steps is exactly ⌊t·I/θ + 1/2⌋ wherever abs(I) ≤ θ, so that
    θ·n(T)/T is the signed h(I) with L = T levels, ties included. For v(t) = v(0) + t·I − θ·n(t), so
    n(t) is that floor if and only if 0 ≤ v(t) < θ. This holds at t = 0. If it holds at t, the
    charge leaves −θ ≤ v + I < 2θ. From θ on the neuron fires and is left below θ; below 0 it fires
    −1 and is left at 0 or above; else it is silent and already there. So it holds at t + 1. A start
    other than θ/2 would move the ties of h, an equality at 0 would send the tie down, and
    −1 only at v ≤ −θ would leave a range of 2θ, in which n is not determined. Where I > θ, v never
    falls below θ before the spike, and n(t) = t; where I < −θ, it is −t: h clips there too.

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
        count_bounds: n_min ≤ 0 and n_max ≥ 1; None is no bound. ``(0, None)`` for values from 0 up,
            ``(None, None)`` for signed ones. With K sizes they count units of the smallest.

    Returns:
        Spikes in {−1, 0, +1}, or of K sizes, shaped and typed like ``current``; the next state.

    Raises:
        ConfigError: θ, θ′, v(0), K or a bound is outside its range.
        StateError: The state's shape differs from the current's.

    Source: ECL eq. 4-5; several sizes are this package's own, and so are signed values. Bounds on
    both sides are those of SpikeZIP-TF (You et al., ICML 2024).

    Example:
        >>> current = torch.tensor([0.8])
        >>> spk, state = dual_threshold_step(current, fresh_state(current), 1.0)
        >>> spk, _ = dual_threshold_step(torch.tensor([-0.8]), state, 1.0)
        >>> spk  # 0.5 + 0.8 − 1 − 0.8 = −0.5: the first spike is taken back
        tensor([-1.])
        >>> signed = {"negative_threshold": 0, "count_bounds": (None, None)}
        >>> dual_threshold_step(-current, fresh_state(current), 1.0, **signed)[0]
        tensor([-1.])
        >>> current = torch.tensor([0.1, 0.3, 0.6, 0.9])
        >>> dual_threshold_step(current, fresh_state(current), 1.0, spike_sizes=3)[0]
        tensor([0.0000, 0.2500, 0.5000, 1.0000])
    """
    threshold = check_threshold(threshold, like=current)
    check_neuron(negative_threshold, initial_membrane, spike_sizes, count_bounds)
    _check_state(current, state)
    settings = (negative_threshold, initial_membrane, spike_grad, spike_sizes, count_bounds)
    return unchecked_step(current, state, threshold, *settings)


def unchecked_step(
    current: Tensor,
    state: State | None,
    threshold: Tensor,
    negative_threshold: float,
    initial_membrane: float,
    spike_grad: SurrogateGradient | None,
    spike_sizes: int = 1,
    count_bounds: CountBounds = RECTIFIED,
) -> tuple[Tensor, State]:
    """:func:`dual_threshold_step` without checks; None is a fresh state."""
    mem = wide(current) if state is None else wide(state.mem) + current
    sizes = SPIKE_SIZES[spike_sizes]
    # The edges include the start v(0), so that zero state means a fresh neuron.
    edges = Edges(threshold.to(mem.dtype), negative_threshold, initial_membrane, sizes)
    net = Net(None if state is None else state.spike_count, *count_bounds)
    hard: Tensor | None = None
    for size in sizes:
        fires = net.gated(mem >= edges.upper(size), size.least)
        hard = ones(fires, current.dtype) if hard is None else _plus(hard, fires, size.units)
    assert hard is not None  # there is a size
    for size in sizes if net.may_fall(negative_threshold) else ():
        hard = _plus(hard, net.gated(edges.below(mem, size), -size.least), -size.units)
    # Up to here in units of the smallest size.
    count = hard.to(torch.int32) if net.before is None else net.before + hard.to(torch.int32)
    if spike_sizes > 1:
        hard = hard * sizes[0].gain if in_graph() else hard.mul_(sizes[0].gain)
    spikes = hard
    if spike_grad is not None and torch.is_grad_enabled():
        soft = _soft_spikes(mem, net, edges, sizes, spike_grad, current.dtype)
        # Surrogates fire on strict >: only their gradient is used, their value cancels exactly.
        spikes = hard + (soft - soft.detach()).to(hard.dtype)
    return spikes, State(torch.addcmul(mem, hard, edges.threshold, value=-1), count)


def _soft_spikes(
    mem: Tensor,
    net: Net,
    edges: Edges,
    sizes: tuple[SpikeSize, ...],
    spike_grad: SurrogateGradient,
    dtype: torch.dtype,
) -> Tensor:
    """The comparisons by a surrogate, gated as the spikes are."""
    total: Tensor | None = None
    for size in sizes:
        gain = edges.times(size.gain)
        # In the current's type: these distances are saved for the backward pass.
        soft = net.gated(spike_grad(((mem - edges.upper(size)) / gain).to(dtype)), size.least)
        if net.may_fall(edges.negative):
            above = spike_grad(((edges.lower(size) - mem) / gain).to(dtype))
            soft = soft - net.gated(above, -size.least)
        if size.gain != 1:
            soft = soft * size.gain
        total = soft if total is None else total + soft
    assert total is not None  # there is a size
    return total


def _plus(numbers: Tensor, mask: Tensor, amount: int) -> Tensor:
    """Add an amount where the mask is true, in place if neither compiling nor tracing."""
    if in_graph():
        return numbers + amount * ones(mask, numbers.dtype)
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
