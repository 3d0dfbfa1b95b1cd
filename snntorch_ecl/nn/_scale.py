"""A layer that multiplies each channel by a constant."""

from __future__ import annotations

from torch import Tensor, nn

from ..functional._channels import over_channels


class Scale(nn.Module):
    """Multiplies each channel by a constant.

    Args:
        scale: The constants, shape ``[]``, or ``[C]`` over dimension 1 of the input.

    Example:
        >>> import torch
        >>> Scale(torch.tensor([0.5, 2.0]))(torch.tensor([[1.0, -1.0]])).tolist()
        [[0.5, -2.0]]
    """

    scale: Tensor

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.detach().clone())

    def forward(self, input_: Tensor) -> Tensor:
        """Scale ``[B, ...]``; with one constant per channel, ``[B, C, ...]``."""
        return input_ * over_channels(self.scale, input_).to(input_.dtype)
