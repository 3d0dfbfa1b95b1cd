"""A spiking network in the form that snnTorch's loops over time expect."""

from __future__ import annotations

from torch import Tensor, nn

from ..nn._snntorch import ResetHandle
from ._network import SpikingNetwork
from ._predict import logits_of


class StepByStep(nn.Module):
    """Calls a spiking network for one step: ``spk, mem = net(x)``, as snnTorch's loops do.

    The readout does not spike: its output stands for both. ``snntorch.backprop`` and loops that
    begin with ``snntorch.utils.reset(net)`` train the network in place.

    Args:
        snn: The network; it is not copied.

    Example:
        >>> import torch
        >>> from snntorch import utils
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> snn = convert(nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2)))
        >>> net, images = StepByStep(snn), torch.rand(3, 8)
        >>> utils.reset(net)
        >>> outputs = [net(images)[0] for _ in range(4)]
        >>> torch.allclose(torch.stack(outputs).mean(0), snn(images, num_steps=4))
        True
    """

    def __init__(self, snn: SpikingNetwork) -> None:
        super().__init__()
        self.snn = snn
        # snnTorch decides by the last layer what the network returns.
        self.snntorch_reset = ResetHandle()

    def forward(self, input_: Tensor) -> tuple[Tensor, Tensor]:
        """Advance by one step with ``[B, ...]``; returns the readout ``[B, classes]`` twice."""
        output = logits_of(self.snn.step(input_))
        return output, output
