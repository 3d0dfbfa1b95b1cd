"""A current that depends on step and channel, before a neuron."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ._temporal import Temporal, unfold


class StepBias(nn.Module, Temporal):
    """Adds a current that depends on step and channel.

    Args:
        bias: ``[T, C]``, in the unit of θ; after T steps its last row is used.

    Example:
        >>> layer = StepBias(torch.tensor([[1.0], [0.0]]))
        >>> layer(torch.zeros(3, 1), num_steps=3).flatten().tolist()
        [1.0, 0.0, 0.0]
    """

    bias: Tensor

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("bias", bias)
        self._taken = 0  # steps since the sequence began

    def forward(self, input_: Tensor, *, num_steps: int = 1, held: int = 1) -> Tensor:
        """Add the bias to a current ``[T·B, C, ...]``; see :func:`snntorch_ecl.nn.unfold`."""
        steps = unfold(input_, num_steps, held)
        index = torch.arange(self._taken, self._taken + num_steps).clamp_max(len(self.bias) - 1)
        self._taken += num_steps
        bias = self.bias[index.to(self.bias.device)].unsqueeze(1)
        return (steps + bias.view(*bias.shape, *[1] * (steps.ndim - 3))).flatten(0, 1)

    def reset_mem(self) -> None:
        """Start again at the first step."""
        self._taken = 0

    def park(self) -> None:
        """Start again: the correction is the same for all images."""
        self._taken = 0

    def select(self, rows: Tensor) -> None:
        """Go on with some images: the correction is the same for all."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_taken": 0}
