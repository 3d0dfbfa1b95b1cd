"""Linear least squares over groups of images, a few steps of conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# The first steps fit what the images have in common; many steps would overfit them.
_ITERATIONS = 3


def least_squares(
    through: Callable[[Tensor, Tensor], Tensor],
    like: Tensor,
    groups: Sequence[tuple[Tensor, Tensor]],
) -> Tensor:
    """Weights w for which the linear ``through(w, x)`` is close to y, for each group ``(y, x)``.

    On the normal equations: one group at a time is in memory, and each step reads all of them once.
    """

    def adjoint(y: Tensor, x: Tensor) -> Tensor:
        with torch.enable_grad():
            probe = torch.zeros_like(like).requires_grad_()
            return torch.autograd.grad(through(probe, x), probe, y)[0]

    found, slope = torch.zeros_like(like), torch.zeros_like(like)
    for y, x in groups:
        slope += adjoint(y, x)
    direction, length = slope, slope.square().sum()
    for _ in range(_ITERATIONS):
        image, size = torch.zeros_like(like), torch.zeros_like(length)
        for _, x in groups:
            reached = through(direction, x)
            size += reached.square().sum()
            image += adjoint(reached, x)
        if not bool(size > 0):  # no error is left, or all inputs were zero
            break
        step = length / size
        found = found + step * direction
        slope = slope - step * image
        previous, length = length, slope.square().sum()
        direction = slope + (length / previous) * direction
    return found
