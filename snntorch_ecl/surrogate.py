"""The surrogate gradient that continues what the clipped activation learned with.

snnTorch's own surrogates have tails: potentials far from the threshold, where the clip of the
trained network passes nothing, still pass gradient. A rectangle has none.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from .errors import ConfigError
from .functional import SurrogateGradient

__all__ = ["rectangular"]


class _Rectangular(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, width: float) -> Tensor:
        return (x > 0).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, ctx.width = inputs
        # One byte each, and numbers throughout: compiled for a CPU, masks are stored one by one.
        outside = (x.abs() * (2 / ctx.width)).floor().clamp(max=1)
        ctx.save_for_backward((1 - outside).to(torch.uint8))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside / ctx.width, None


def rectangular(width: float = 1.0) -> SurrogateGradient:
    r"""Gradient ``1/width`` within ``width/2`` of a threshold, and none beyond.

    A neuron that starts at θ/2 lies within θ/2 of its threshold at the first step exactly where
    its current lies between 0 and θ. So with ``width = 1`` one step has the gradient of
    :class:`~snntorch_ecl.ThresholdClip`, and fine-tuning goes on as the ANN's training did.

    Args:
        width: Of the rectangle, in units of θ, > 0.

    Returns:
        A spike function for ``spike_grad``, like those of :mod:`snntorch.surrogate`.

    Raises:
        ConfigError: ``width`` is not a positive, finite number.

    Source: Wu et al., "Spatio-temporal backpropagation", 2018, arXiv 1706.02609, eq. 24.

    Example:
        >>> from snntorch_ecl import DualThreshold
        >>> current = torch.tensor([-0.2, 0.2, 0.8, 1.2], requires_grad=True)
        >>> neuron = DualThreshold(spike_grad=rectangular(), init_hidden=True)
        >>> neuron(current).sum().backward()
        >>> current.grad
        tensor([0., 1., 1., 0.])
    """
    if isinstance(width, bool) or not isinstance(width, (int, float)) or not width > 0:
        raise ConfigError(f"width must be a number > 0; got {width!r}")
    if math.isinf(width):
        raise ConfigError(f"width must be finite; got {width!r}")
    return functools.partial(_spike, width=float(width))


def _spike(x: Tensor, *, width: float) -> Tensor:
    spikes: Tensor = _Rectangular.apply(x, width)
    return spikes
