"""The time loop compiled into one pass over memory, for runs without gradients.

A neuron does little arithmetic but moves much memory: in the plain loop each operation reads and
writes membrane, count, current or spikes. ``torch.compile`` makes one loop of it, in which
membrane and count stay in registers. The equations are those of :mod:`snntorch_ecl.functional`.
Spikes are equal bit for bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._util.compiler import compiled, works_on
from .._util.torch_internals import can_be_read
from . import _scan as plain
from ._edges import RECTIFIED, CountBounds
from ._layout import joined, layout_of
from ._neuron import State, SurrogateGradient, fresh_state, unchecked_step

# Steps in one compiled piece: longer pieces take longer to compile and run no faster.
_PIECE = 8


class Scanned(NamedTuple):
    """What the compiled loop returns.

    Attributes:
        spikes: ``[T, B, ...]``, in {−1, 0, +1}, or of K sizes, times the amplitude.
        state: After the last step; None after a run's only step, of which nothing is kept.
        mem_sum: Sum of the membranes: finite only if all are. It costs nothing in this loop, but
            a pass over memory outside it. None where nothing was compiled.
    """

    spikes: Tensor
    state: State | None
    mem_sum: Tensor | None


def scan(
    current: Tensor,
    threshold: Tensor | float,
    state: State | None = None,
    *,
    negative_threshold: float = -1e-3,
    initial_membrane: float = 0.5,
    spike_grad: SurrogateGradient | None = None,
    spike_sizes: int = 1,
    count_bounds: CountBounds = RECTIFIED,
    amplitude: Tensor | None = None,
) -> Scanned:
    """:func:`snntorch_ecl.functional.scan`, compiled; spikes are multiplied by ``amplitude``.

    It runs the plain scan where gradients are recorded, and, with a warning, where nothing can be
    compiled (no C++ compiler). The amplitude broadcasts to ``[B, ...]``.
    """
    settings: dict[str, Any] = {
        "negative_threshold": negative_threshold,
        "initial_membrane": initial_membrane,
        "spike_sizes": spike_sizes,
        "count_bounds": count_bounds,
    }
    if not usable(current):
        spikes, state = plain.scan(current, threshold, state, spike_grad=spike_grad, **settings)
        return Scanned(spikes if amplitude is None else spikes * amplitude, state, None)
    threshold = plain.checked(current, threshold, state, **settings)
    return unchecked_scan(current, threshold, state, amplitude=amplitude, **settings)


def usable(current: Tensor) -> bool:
    """Whether the compiled loop can run here; warns if nothing can be compiled."""
    if torch.is_grad_enabled() or not can_be_read(current):  # a compiled run has its own loop
        return False
    return works_on(current.device.type)


def unchecked_scan(
    current: Tensor,
    threshold: Tensor,
    state: State | None,
    *,
    negative_threshold: float,
    initial_membrane: float,
    spike_sizes: int = 1,
    count_bounds: CountBounds = RECTIFIED,
    amplitude: Tensor | None,
) -> Scanned:
    """:func:`scan` without its checks, for where :func:`usable` is true; θ has the current's type.

    Keep it short: it runs between large operations that push Python's own data out of the
    processor's caches, so each line costs more than it seems.
    """
    shape = current.shape
    flat = threshold.numel() == 1 and (amplitude is None or amplitude.numel() == 1)
    moved = flat and layout_of(current[0]) != torch.contiguous_format
    if moved:  # as it lies in memory
        current = current.movedim(2, -1)
        state = state and State(*(part.movedim(1, -1) for part in state))
    ordered = current.shape
    held = shape[0] > 1 and current.stride(0) == 0  # a constant current, expanded
    if flat and (current[0] if held else current).is_contiguous():
        # One compilation then serves layers of any number of dimensions.
        current = current[0].flatten().expand(shape[0], -1) if held else current.flatten(1)
        threshold = threshold if threshold.ndim == 0 else threshold.reshape(())
        if amplitude is not None and amplitude.ndim:
            amplitude = amplitude.reshape(())
        state = state and State(*(part.flatten() for part in state))
    loop = _loop(negative_threshold, initial_membrane, spike_sizes, count_bounds)
    if shape[0] <= _PIECE:
        spikes, *after, mem_sum = loop(current, *(state or (None, None)), threshold, amplitude)
    else:
        parts = []
        for start in range(0, shape[0], _PIECE):
            piece = current[start : start + _PIECE]
            spikes, *after, mem_sum = loop(piece, *(state or (None, None)), threshold, amplitude)
            state = State(*after)
            parts.append(spikes)
        spikes = torch.cat(parts)
    state = State(*after)
    if current.ndim != len(shape):
        spikes = spikes.view(ordered)
        state = State(*(part.view(ordered[1:]) for part in state))
    if moved:
        spikes = spikes.movedim(-1, 2)
        state = State(*(part.movedim(-1, 1) for part in state))
    return Scanned(spikes, state, mem_sum)


@functools.cache
def _loop(
    negative_threshold: float, initial_membrane: float, spike_sizes: int, count_bounds: CountBounds
) -> Callable[..., Any]:
    """The loop for one kind of neuron, compiled for each kind of input on first use."""

    def loop(
        current: Tensor,
        mem: Tensor | None,
        spike_count: Tensor | None,
        threshold: Tensor,
        amplitude: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # To the compiler, zeros made here are constants: they never go through memory.
        if mem is None or spike_count is None:
            state = fresh_state(current[0])
        else:
            state = State(mem, spike_count)
        spikes = []
        neuron = (negative_threshold, initial_membrane, None, spike_sizes, count_bounds)
        for step_current in current:
            spk, state = unchecked_step(step_current, state, threshold, *neuron)
            spikes.append(spk if amplitude is None else spk * amplitude)
        return joined(spikes), state.mem, state.spike_count, state.mem.sum()

    return compiled(loop)
