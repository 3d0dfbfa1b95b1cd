"""Whether a layer of one's own that descends from a linear one is linear still."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from .._util.torch_internals import Convolution

_SIDE = 12  # of the images it is tried on; kernels that are larger stay untried
_TOLERANCE = 2e-2  # a layer may compute in half precision


def bends(layer: nn.Module) -> bool:
    """Whether a linear layer or convolution with a ``forward`` of its own proves not to be affine.

    Tried in eval mode, on a copy, with random inputs: ``f(a + b) + f(0) = f(a) + f(b)`` holds for
    affine layers alone. (A subclass that normalises its weights or pads is affine; one that
    rectifies what it returns is not.)

    Args:
        layer: Any module.

    Returns:
        True if it is not affine; False if it is, or cannot be tried.

    Example:
        >>> class Rectified(nn.Linear):
        ...     def forward(self, input):
        ...         return super().forward(input).relu()
        >>> bends(Rectified(8, 8)), bends(nn.Linear(8, 8))
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
    except Exception:  # code of the user's, on inputs it may not be for
        return False


def _plain_convolution(layer: nn.Module) -> type[nn.Module] | None:
    """The convolution of torch's own that a layer descends from."""
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
