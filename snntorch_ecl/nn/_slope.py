"""A layer that multiplies each channel by a weight that is learned."""

from __future__ import annotations

from torch import Tensor, nn

from ..functional._channels import over_channels


class Slope(nn.Module):
    """Multiplies each channel by a learned weight, as ``nn.PReLU`` does with negative values.

    Args:
        weight: ``[1]``, or ``[C]`` over dimension 1 of the input.

    Example:
        >>> import torch
        >>> Slope(nn.Parameter(torch.tensor([0.5, 2.0])))(torch.ones(1, 2)).tolist()
        [[0.5, 2.0]]
    """

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, input_: Tensor) -> Tensor:
        """Multiply ``[B, ...]``; with one weight per channel, ``[B, C, ...]``."""
        if self.weight.numel() == 1:
            return input_ * self.weight
        return input_ * over_channels(self.weight, input_)
