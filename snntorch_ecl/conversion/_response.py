"""What a neuron answers to a constant input, for thresholds that fit its levels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .. import functional as F
from ..functional._activation import quantise

# Inputs tried where the levels have no formula: so many between two of them, and in all.
_BETWEEN, _MOST_TRIED = 32, 2**16


class Response(NamedTuple):
    """Mean output of a neuron with θ = 1 over T steps.

    Attributes:
        values: The levels ``[n + 1]``, in the order in which a growing input reaches them.
        edges: The input ``[n]`` at which each begins, but the first.
    """

    values: Tensor
    edges: Tensor


def response(num_steps: int, spike_sizes: int = 1) -> Response:
    """The levels at T steps with K spike sizes: T of one size, 2T of two; of more it tries them.

    Example:
        >>> response(2).values.tolist(), response(2).edges.tolist()
        ([0.0, 0.5, 1.0], [0.25, 0.75])
        >>> response(1, 3).values.tolist()  # one step has no 3/4
        [0.0, 0.25, 0.5, 1.0]
    """
    if spike_sizes <= 2:
        levels = num_steps * spike_sizes
        values = torch.arange(levels + 1, dtype=torch.float64) / levels
        return Response(values, values[1:] - values[1] / 2)
    tried = min(_BETWEEN * num_steps * 2 ** (spike_sizes - 1), _MOST_TRIED)
    inputs = (torch.arange(tried) + 0.5) / tried
    with torch.no_grad():
        spikes, _ = F.scan(inputs.expand(num_steps, -1), 1.0, spike_sizes=spike_sizes)
    means = spikes.mean(0).double()
    begins = means[1:] != means[:-1]
    edges = (inputs[1:] + inputs[:-1]).double()[begins] / 2
    return Response(torch.cat((means[:1], means[1:][begins])), edges)


def answer(
    current: Tensor, theta: Tensor, num_steps: int, spike_sizes: int = 1, *, signed: bool = False
) -> Tensor:
    """The mean of the spikes ±1, … for a constant current, without going through the steps.

    Signed neurons must have one spike size.

    Example:
        >>> answer(torch.tensor([-1.0, 0.3, 0.8, 5.0]), torch.tensor(1.0), 2)
        tensor([0.0000, 0.5000, 1.0000, 1.0000])
    """
    if spike_sizes <= 2:
        return quantise(current, theta, num_steps * spike_sizes, signed) / theta
    found = response(num_steps, spike_sizes)
    reached = torch.bucketize(current / theta, found.edges.to(current), right=True)
    return found.values.to(current)[reached]
