"""The neuron's loop over time."""

from __future__ import annotations

from torch import Tensor

from .._util.checks import check_neuron, check_threshold
from ..errors import InputError
from ._edges import RECTIFIED, CountBounds
from ._in_place import scan_in_place, works_in_place
from ._layout import joined
from ._neuron import State, SurrogateGradient, _check_state, unchecked_step


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
) -> tuple[Tensor, State]:
    """Run dual-threshold neurons over a whole sequence.

    Args:
        current: Input currents, ``[T, B, ...]``, T ≥ 1. A constant current may be an expanded
            view; it is not copied.
        threshold: θ > 0: a number, or a tensor that broadcasts to ``[B, ...]``.
        state: State to go on from, which is not changed; None starts fresh.
        negative_threshold: θ′ ≤ 0, absolute; ``-inf`` gives the plain IF neuron.
        initial_membrane: v(0) in units of θ (of the smallest spike), within [0, 1].
        spike_grad: Surrogate gradient, or None.
        spike_sizes: K: spikes of ±1, ±1/2, … ±1/2^(K−1).
        count_bounds: The least and the largest net count; ``(None, None)`` for signed values.

    Returns:
        Spikes in {−1, 0, +1}, or of K sizes, ``[T, B, ...]``, and the state after the last step.

    Raises:
        ConfigError: As :func:`dual_threshold_step`.
        InputError: There is no step in ``current``.
        StateError: The state's shape differs from ``[B, ...]``.

    Source: ECL eq. 4-5, unrolled.

    Example:
        >>> import torch
        >>> spikes, state = scan(torch.full((4, 1), 0.5), 1.0)
        >>> spikes.flatten().tolist()  # θ · mean = h(0.5) = 0.5
        [1.0, 0.0, 1.0, 0.0]
    """
    threshold = checked(
        current,
        threshold,
        state,
        negative_threshold=negative_threshold,
        initial_membrane=initial_membrane,
        spike_sizes=spike_sizes,
        count_bounds=count_bounds,
    )
    start, bounds = (negative_threshold, initial_membrane), (spike_sizes, count_bounds)
    if works_in_place(current, threshold, *(state or ())):
        return scan_in_place(current, state, threshold, *start, *bounds)
    spikes = []
    for step_current in current:
        spk, state = unchecked_step(step_current, state, threshold, *start, spike_grad, *bounds)
        spikes.append(spk)
    assert state is not None  # there was a step
    return joined(spikes), state


def checked(
    current: Tensor,
    threshold: Tensor | float,
    state: State | None,
    *,
    negative_threshold: float,
    initial_membrane: float,
    spike_sizes: int,
    count_bounds: CountBounds,
) -> Tensor:
    """Check a time loop's arguments as :func:`scan` documents; θ as a tensor of current's type."""
    if current.ndim < 1 or current.shape[0] < 1:
        raise InputError(f"scan needs currents of shape [T ≥ 1, B, ...], not {list(current.shape)}")
    threshold = check_threshold(threshold, like=current[0])
    check_neuron(negative_threshold, initial_membrane, spike_sizes, count_bounds)
    if state is not None:
        _check_state(current[0], state)
    return threshold
