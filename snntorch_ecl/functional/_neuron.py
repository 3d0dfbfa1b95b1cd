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


def dual_threshold_step(
    current: Tensor,
    state: State,
    threshold: Tensor | float,
    *,
    negative_threshold: float = -1e-3,
    initial_membrane: float = 0.5,
    spike_grad: SurrogateGradient | None = None,
) -> tuple[Tensor, State]:
    """Advance dual-threshold neurons by one step.

    ::

        v ← v + I                        charge, no leak
        s = +1  if v ≥ θ                 fire
        s = −1  if v ≤ θ′ and n > 0      take a spike back
        v ← v − θ·s ;  n ← n + s         soft reset, net spike count

    The state holds ``v − v(0)`` with ``v(0) = initial_membrane · θ``. With ``spike_grad`` the
    spikes carry surrogate gradients through both comparisons, of ``(v − θ)/θ`` and of
    ``(θ′ − v)/θ``; the reset is detached, as in snnTorch.

    Args:
        current: Input current I, ``[B, ...]``, in the unit of θ.
        state: Membrane and count, each shaped like ``current``; see :func:`fresh_state`.
        threshold: θ > 0: a number, or a tensor that broadcasts to ``current``.
        negative_threshold: θ′ ≤ 0, absolute. ``-inf`` gives the plain integrate-and-fire neuron.
        initial_membrane: v(0) in units of θ, within [0, 1].
        spike_grad: Surrogate gradient, or None for spikes without gradient.

    Returns:
        Spikes in {−1, 0, +1}, shaped and typed like ``current``, and the next state.

    Raises:
        ConfigError: θ, θ′ or v(0) is outside its range.
        StateError: The state's shape differs from the current's.

    Source: ECL eq. 4-5.

    Example:
        >>> current = torch.tensor([0.8])
        >>> spk, state = dual_threshold_step(current, fresh_state(current), 1.0)
        >>> spk, _ = dual_threshold_step(torch.tensor([-0.8]), state, 1.0)
        >>> spk  # 0.5 + 0.8 − 1 − 0.8 = −0.5: the first spike is taken back
        tensor([-1.])
    """
    threshold = check_threshold(threshold, like=current)
    check_neuron(negative_threshold, initial_membrane)
    _check_state(current, state)
    return unchecked_step(
        current, state, threshold, negative_threshold, initial_membrane, spike_grad
    )


def unchecked_step(
    current: Tensor,
    state: State | None,
    threshold: Tensor,
    negative_threshold: float,
    initial_membrane: float,
    spike_grad: SurrogateGradient | None,
    out: Tensor | None = None,
) -> tuple[Tensor, State]:
    """:func:`dual_threshold_step` without checks; None is a fresh state.

    In runs without gradients, spikes can be written to ``out``.
    """
    mem = wide(current) if state is None else wide(state.mem) + current
    threshold = threshold.to(mem.dtype)
    # The comparisons include the start v(0), so that zero state means a fresh neuron.
    start = initial_membrane * threshold
    upper, lower = threshold - start, negative_threshold - start
    fires = mem >= upper
    hard = _ones(fires, current.dtype) if out is None else out.copy_(fires)
    gate = None
    if state is None:  # a fresh neuron has no spike to take back
        count = _ones(fires, torch.int32)
    else:
        count = state.spike_count + fires
        if negative_threshold != -math.inf:
            gate = state.spike_count > 0
            takes_back = (mem <= lower) & gate
            hard, count = _without(hard, takes_back), _without(count, takes_back)
    spikes = hard
    if spike_grad is not None and torch.is_grad_enabled():
        # In the current's type: these distances are saved for the backward pass.
        soft = spike_grad(((mem - upper) / threshold).to(current.dtype))
        if gate is not None:
            above = spike_grad(((lower - mem) / threshold).to(current.dtype))
            soft = soft - above * _ones(gate, above.dtype)
        # Surrogates fire on strict >: only their gradient is used, their value cancels exactly.
        spikes = hard + (soft - soft.detach()).to(hard.dtype)
    return spikes, State(torch.addcmul(mem, hard, threshold, value=-1), count)


def _ones(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """1 where the mask is true, in a form that compiles to fast code on CPUs."""
    if torch.compiler.is_compiling():
        return torch.where(mask, 1.0, 0.0).to(dtype)
    return mask.to(dtype)


def _without(numbers: Tensor, mask: Tensor) -> Tensor:
    """Subtract 1 where the mask is true, in place if neither compiling nor tracing."""
    if torch.compiler.is_compiling() or _is_tracing():
        return numbers - _ones(mask, numbers.dtype)
    return numbers.sub_(mask.view(torch.uint8))  # torch does not subtract booleans


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
