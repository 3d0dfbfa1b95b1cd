"""The time loop compiled into one pass over memory, for runs without gradients.

A neuron does little arithmetic and moves much memory: step by step, membrane, count, current and
spikes travel to the processor and back for each operation. ``torch.compile`` makes one loop of it,
in which membrane and count stay in registers. The equations are those of
:mod:`snntorch_ecl.functional`; spikes are equal bit for bit.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from . import functional as F

__all__ = ["scan"]

# Steps in one compiled piece: longer pieces take longer to compile and gain nothing.
_PIECE = 8
# One compilation for each of: steps in a piece, kind of neuron, rank, type.
_COMPILATIONS = 64


def scan(
    current: Tensor,
    threshold: Tensor | float,
    state: F.State | None = None,
    *,
    negative_threshold: float = -1e-3,
    initial_membrane: float = 0.5,
    spike_grad: F.SurrogateGradient | None = None,
    amplitude: Tensor | None = None,
) -> tuple[Tensor, F.State]:
    """As :func:`snntorch_ecl.functional.scan`, compiled on first use (some seconds).

    Falls back to :func:`~snntorch_ecl.functional.scan` where gradients are recorded, and, with a
    warning, where nothing can be compiled (no C++ compiler).

    Args:
        current: ``[T, B, ...]``.
        threshold: θ > 0.
        state: State to go on from; fresh if None.
        negative_threshold: θ′ ≤ 0; ``-inf`` gives the plain IF neuron.
        initial_membrane: v(0) in units of θ.
        spike_grad: Used where gradients are recorded.
        amplitude: Spikes are multiplied by it as they are written; broadcasts to ``[B, ...]``.

    Returns:
        Spikes in {−1, 0, +1} · amplitude, ``[T, B, ...]``, and the state after the last step.

    Raises:
        ConfigError, InputError, StateError: As the plain scan.
    """
    settings: dict[str, Any] = {
        "negative_threshold": negative_threshold,
        "initial_membrane": initial_membrane,
    }
    if torch.is_grad_enabled() or not _usable(current.device.type):
        spikes, state = F.scan(current, threshold, state, spike_grad=spike_grad, **settings)
        return (spikes if amplitude is None else spikes * amplitude), state
    threshold = F.checked(current, threshold, state, **settings)
    shape = current.shape
    scalar = threshold.numel() == 1 and (amplitude is None or amplitude.numel() == 1)
    if scalar and current.is_contiguous():
        # One compilation then serves layers of any rank.
        current, threshold = current.flatten(1), threshold.reshape(())
        amplitude = None if amplitude is None else amplitude.reshape(())
        state = None if state is None else F.State(*(part.flatten() for part in state))
    pieces = []
    with _room_for_compilations():
        for start in range(0, len(current), _PIECE):
            spikes, *state_ = _compiled()(
                current[start : start + _PIECE],
                *(state or (None, None)),
                threshold,
                negative_threshold,
                initial_membrane,
                amplitude,
            )
            state = F.State(*state_)
            pieces.append(spikes)
    assert state is not None  # there was a piece
    spikes = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
    state = F.State(state.mem.view(shape[1:]), state.spike_count.view(shape[1:]))
    return spikes.view(shape), state


def _loop(
    current: Tensor,
    mem: Tensor | None,
    spike_count: Tensor | None,
    threshold: Tensor,
    negative_threshold: float,
    initial_membrane: float,
    amplitude: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    # Zeros made here are constants to the compiler: a fresh state is neither written nor read.
    if mem is None or spike_count is None:
        state = F.fresh_state(current[0])
    else:
        state = F.State(mem, spike_count)
    spikes = []
    for step_current in current:
        spk, state = F.unchecked_step(
            step_current, state, threshold, negative_threshold, initial_membrane, None
        )
        spikes.append(spk if amplitude is None else spk * amplitude)
    return torch.stack(spikes), state.mem, state.spike_count


def _room_for_compilations() -> AbstractContextManager[None]:
    """Dynamo's own limit is 8; its setting was renamed between releases of torch."""
    config = torch._dynamo.config
    known = ("recompile_limit", "cache_size_limit")
    name = next((name for name in known if hasattr(config, name)), None)
    return config.patch({name: _COMPILATIONS}) if name else nullcontext()


@functools.cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(_loop, dynamic=True)


@functools.cache
def _usable(device: str) -> bool:
    """Try once on a device whether anything can be compiled for it."""
    try:
        with torch.no_grad():
            probe = torch.zeros(2, 2, device=device)
            one = torch.ones((), device=device)
            _compiled()(probe, probe[0], probe[0].int(), one, -1.0, 0.5, one)
    except Exception as error:  # whatever the compiler's absence looks like
        warnings.warn(
            f"the time loop cannot be compiled for {device!r}, and runs step by step: "
            f"{type(error).__name__}: {str(error).splitlines()[0]}",
            stacklevel=4,
        )
        return False
    return True
