"""Run other neurons step by step inside a converted network; reset all layers with state."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import snntorch
import torch
from torch import Tensor, nn

from .._util.checks import check_module
from .._util.turns import turn_of
from ._snntorch import ResetHandle
from ._temporal import Temporal, unfold


class Hold(nn.Module):
    """Repeats a constant batch for each step: ``[B, ...]`` to ``[held·B, ...]``, time-major.

    Args:
        dim: The dimension that counts the batch's rows, if not 0.
    """

    def __init__(self, dim: int = 0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input_: Tensor, held: int) -> Tensor:
        """Repeat ``input_``; ``held=1`` returns it as it is."""
        if held == 1:
            return input_
        if self.dim == 0:
            return torch.cat([input_] * held)  # which keeps the memory format
        before, after = input_.shape[: self.dim], input_.shape[self.dim :]
        repeated = input_.unsqueeze(self.dim).expand(*before, held, *after)
        return repeated.flatten(self.dim, self.dim + 1)


class Stepwise(nn.Module, Temporal):
    """Runs any other layer with state inside a converted network, one step at a time.

    Args:
        neuron: A spiking neuron with ``init_hidden=True`` that returns only spikes, or a module
            that holds such neurons; it maps one tensor to one tensor.

    Shape:
        Input ``[T·B, ...]``, time-major; output ``[T·B, ...]``, as the neuron shapes it.

    Example:
        >>> layer = Stepwise(snntorch.Leaky(beta=0.5, init_hidden=True))
        >>> layer(torch.tensor([0.8, 0.8, 0.8]), num_steps=3).tolist()  # mem 0.8, 1.2, 0.4
        [0.0, 1.0, 0.0]
    """

    def __init__(self, neuron: nn.Module) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, input_: Tensor, *, num_steps: int = 1, held: int = 1) -> Tensor:
        """Run ``[T·B, ...]`` step by step; see :func:`unfold`."""
        steps = unfold(input_, num_steps, held)
        return torch.stack([self.neuron(step) for step in steps]).flatten(0, 1)

    def reset_mem(self) -> None:
        """Reset the neuron inside."""
        reset(self.neuron)


def reset(module: nn.Module) -> None:
    """Reset every layer with state below ``module``, at any depth.

    Args:
        module: A neuron, a network, or anything that holds them. Other networks keep their state
            (``snntorch.utils.reset`` clears every live neuron of the process). A
            :class:`~snntorch_ecl.SpikingNetwork` that another thread runs is waited for.

    Example:
        >>> from snntorch_ecl import DualThreshold
        >>> neuron = DualThreshold(init_hidden=True)
        >>> _ = neuron(torch.rand(2))
        >>> reset(neuron)
        >>> neuron.mem
        tensor([0., 0.])
    """
    check_module(module)
    turn = turn_of(module)
    with turn.alone() if turn else nullcontext():
        if turn:
            turn.own()
        stateful = isinstance(module, (Temporal, snntorch.SpikingNeuron))
        reset_mem: Any = getattr(module, "reset_mem", None)
        if stateful and not isinstance(module, ResetHandle) and reset_mem is not None:
            reset_mem()
        for child in module.children():
            reset(child)
