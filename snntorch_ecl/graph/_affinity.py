"""Test numerically whether a subclass of Linear or Conv is still affine."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from .._util.torch_internals import Convolution

_SIDE = 12  # of the test images; layers with larger kernels are not tested
_TOLERANCE = 2e-2  # a layer may compute in half precision


def is_not_affine(layer: nn.Module) -> bool:
    """Whether a subclass of Linear or Conv with its own ``forward`` is found not to be affine.

    A copy in eval mode is run on random inputs: only for affine layers is
    ``f(a + b) + f(0) = f(a) + f(b)``. A layer that cannot be tested counts as affine. (A subclass
    that normalises its weights or pads is affine; one that rectifies its output is not.)

    Example:
        >>> class Rectified(nn.Linear):
        ...     def forward(self, input):
        ...         return super().forward(input).relu()
        >>> is_not_affine(Rectified(8, 8)), is_not_affine(nn.Linear(8, 8))
        (True, False)
    """
    plain = nn.Linear if isinstance(layer, nn.Linear) else _plain_convolution(layer)
    if plain is None or type(layer).forward is plain.forward:
        return False
    try:
        with torch.no_grad():
            trial = copy.deepcopy(layer).eval().float().cpu()
            a, b = _inputs(layer)
            of_a, of_b = trial(a), trial(b)
            difference: Tensor = trial(a + b) + trial(torch.zeros_like(a)) - of_a - of_b
            size = of_a.abs().amax() + of_b.abs().amax()
            return bool(difference.abs().amax() > _TOLERANCE * size)
    except Exception:  # the user's code, perhaps on inputs it is not made for
        return False


def _plain_convolution(layer: nn.Module) -> type[nn.Module] | None:
    """The class of torch.nn that a convolution derives from; None for other layers."""
    kinds = (k for k in type(layer).__mro__ if issubclass(k, Convolution))
    return next((k for k in kinds if k.__module__.startswith("torch.nn.modules")), None)


def _inputs(layer: nn.Module) -> tuple[Tensor, Tensor]:
    if isinstance(layer, nn.Linear):
        shape: tuple[int, ...] = (2, layer.in_features)
    else:
        assert isinstance(layer, Convolution)
        shape = (2, layer.in_channels, *[_SIDE] * len(layer.kernel_size))
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, *shape, generator=generator)
    return a, b
