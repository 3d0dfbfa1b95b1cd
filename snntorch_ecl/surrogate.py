"""Surrogate gradients without tails: a rectangle, as the clip's gradient, and a triangle.

snnTorch's surrogates have tails: potentials far from the threshold still pass gradient, where the
trained network's clip passes none. These are zero there.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from .errors import ConfigError
from .functional._neuron import SurrogateGradient

__all__ = ["rectangular", "triangular"]


class _Spike(torch.autograd.Function):
    """The step function; each subclass defines its gradient."""

    @staticmethod
    def forward(x: Tensor, width: float) -> Tensor:
        return (x > 0).to(x.dtype)


class _Rectangular(_Spike):
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, ctx.width = inputs
        # Saved as bytes, not as a mask: on CPUs, compiled code stores masks slowly.
        outside = (x.abs() * (2 / ctx.width)).floor().clamp(max=1)
        ctx.save_for_backward((1 - outside).to(torch.uint8))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside / ctx.width, None


class _Triangular(_Spike):
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, ctx.width = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (x,) = ctx.saved_tensors
        steepness = 2 / ctx.width
        return grads[0] * (1 - x.abs() * steepness).clamp(min=0) * steepness, None


def rectangular(width: float = 1.0) -> SurrogateGradient:
    r"""Gradient ``1/width`` within ``width/2`` of a threshold, and zero beyond.

    A neuron that starts at θ/2 is within θ/2 of its threshold at the first step exactly if its
    current is between 0 and θ. So with ``width = 1`` one step has the gradient of
    :class:`~snntorch_ecl.ThresholdClip`, and fine-tuning continues as the ANN's training did.

    Args:
        width: Width of the rectangle, in units of θ, > 0.

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
    return functools.partial(_spike, _Rectangular, width=_checked(width))


def triangular(width: float = 2.0) -> SurrogateGradient:
    r"""Gradient ``2/width`` at a threshold, falling to zero at ``width/2`` from it.

    Potentials near the threshold get the largest gradient: there a small change of the weights
    changes spikes. With ``width = 2`` a quarter of the gradient comes from beyond the clip's ends,
    so that neurons that never fire, or always fire, learn as well.

    Args:
        width: Width of the triangle's base, in units of θ, > 0.

    Returns:
        A spike function for ``spike_grad``, like those of :mod:`snntorch.surrogate`.

    Raises:
        ConfigError: ``width`` is not a positive, finite number.

    Source: Bellec et al., "Long short-term memory and learning-to-learn in networks of spiking
    neurons", 2018, arXiv 1803.09574, where it is damped.

    Example:
        >>> from snntorch_ecl import DualThreshold
        >>> current = torch.tensor([-0.25, 0.25, 0.5, 1.25, 1.75], requires_grad=True)
        >>> neuron = DualThreshold(spike_grad=triangular(), init_hidden=True)
        >>> neuron(current).sum().backward()
        >>> current.grad
        tensor([0.2500, 0.7500, 1.0000, 0.2500, 0.0000])
    """
    return functools.partial(_spike, _Triangular, width=_checked(width))


def _checked(width: float) -> float:
    if isinstance(width, bool) or not isinstance(width, (int, float)) or not width > 0:
        raise ConfigError(f"width must be a number > 0; got {width!r}")
    if math.isinf(width):
        raise ConfigError(f"width must be finite; got {width!r}")
    return float(width)


def _spike(shape: type[_Spike], x: Tensor, *, width: float) -> Tensor:
    spikes: Tensor = shape.apply(x, width)
    return spikes
