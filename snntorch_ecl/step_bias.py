"""A correction of its own for each time step, ahead of a neuron."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .graph import unique_name
from .network import SpikingNetwork
from .temporal import Temporal, unfold

__all__ = ["StepBias", "insert_step_biases", "step_biases"]


class StepBias(nn.Module, Temporal):
    """Adds a current that depends on step and channel.

    Args:
        bias: ``[T, C]``, in the unit of θ; after T steps its last row stays.

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
        """Correct ``[T·B, C, ...]``; see :func:`snntorch_ecl.temporal.unfold`."""
        steps = unfold(input_, num_steps, held)
        index = torch.arange(self._taken, self._taken + num_steps).clamp_max(len(self.bias) - 1)
        self._taken += num_steps
        bias = self.bias[index.to(self.bias.device)].unsqueeze(1)
        return (steps + bias.view(*bias.shape, *[1] * (steps.ndim - 3))).flatten(0, 1)

    def reset_mem(self) -> None:
        """Begin again at the first step."""
        self._taken = 0

    def park(self) -> None:
        """Begin again: the correction is the same for all images."""
        self._taken = 0

    def select(self, rows: Tensor) -> None:
        """Go on with some images: the correction is the same for all."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_taken": 0}


def insert_step_biases(snn: SpikingNetwork, biases: dict[str, Tensor]) -> SpikingNetwork:
    """Put a :class:`StepBias` ahead of some neurons.

    Args:
        snn: The network; its graph is changed.
        biases: ``[T, C]`` by the neuron's name.

    Returns:
        The network with its corrections.
    """
    net = snn.net
    for node in list(net.graph.nodes):
        if node.op != "call_module" or node.target not in biases:
            continue
        name = unique_name(net, f"{node.target}_step_bias")
        net.add_submodule(name, StepBias(biases[node.target]))
        with net.graph.inserting_before(node):
            corrected = net.graph.call_module(name, (node.args[0],), dict(node.kwargs))
        node.args = (corrected, *node.args[1:])
        node.kwargs = {**node.kwargs, "held": 1}  # what was held is unfolded by now
    net.graph.lint()
    net.recompile()
    return SpikingNetwork(net, snn.layers, unit_spikes=snn.unit_spikes).train(snn.training)


def step_biases(snn: SpikingNetwork) -> dict[str, list[int]]:
    """Which neurons have a :class:`StepBias`, and of which shape ``[T, C]``."""
    found = {}
    for node in snn.net.graph.nodes:
        if node.op == "call_module":
            module = snn.net.get_submodule(str(node.target))
            if isinstance(module, StepBias):
                found[str(next(iter(node.users)).target)] = list(module.bias.shape)
    return found
