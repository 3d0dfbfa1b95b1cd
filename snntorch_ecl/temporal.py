"""Layers with state over time, and how a sequence is laid out when it runs through them.

A converted network runs on time-major batches ``[T·B, ...]``: row ``t·B + b`` is image ``b`` at
step ``t``. Layers without state never notice; a :class:`Temporal` layer unfolds the time axis.
"""

from __future__ import annotations

from typing import Any

import snntorch
import torch
from torch import Tensor, nn

from .checks import at
from .errors import InputError, StateError

__all__ = ["BatchState", "Hold", "Stepwise", "Temporal", "reset", "temporal_layers", "unfold"]


class Temporal:
    """Mixin for a layer that must see time steps one after the other.

    Derive from it (and from ``nn.Module``) to give ``convert`` a stateful layer of your own. Its
    ``forward(input_, *, num_steps, held)`` gets ``[T·B, ...]`` and turns it into
    ``[T, B, ...]`` with :func:`unfold`; ``reset_mem()`` makes it forget.
    """

    def reset_mem(self) -> Tensor | None:
        """Forget the sequence seen so far."""
        raise NotImplementedError(f"{type(self).__name__} must define reset_mem()")

    def begin(self) -> None:
        """A whole run begins: forget; what memory the state had may be freed."""
        self.reset_mem()

    def park(self) -> None:
        """Set the state aside and begin anew, for the next images of a batch that runs in groups.

        Without it batches run whole.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define park()")

    def end(self) -> None:
        """A run is over: the state is that of all its groups, one after the other."""

    def select(self, rows: Tensor) -> None:
        """Go on with some images of the running batch; without it, early exit keeps them all.

        Args:
            rows: Which, ``[B]``, bool.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define select()")


class BatchState:
    """What a layer remembers of a batch, in parts where the batch ran in groups of images.

    Parts are joined once somebody asks: most often nobody does.

    Args:
        *fresh: What it is before the first step: a tensor, or None, for each part of the state.

    Example:
        >>> state = BatchState(None)
        >>> state.set(torch.tensor([1.0]))
        >>> state.park()
        >>> state.set(torch.tensor([2.0]))
        >>> state.unpark()
        >>> state.get()
        (tensor([1., 2.]),)
    """

    def __init__(self, *fresh: Tensor | None) -> None:
        self._fresh = fresh
        self.clear()

    def clear(self) -> None:
        """Make it fresh, and forget what was set aside."""
        self._parts: list[tuple[Tensor | None, ...]] = [self._fresh]
        self._parked: list[tuple[Tensor | None, ...]] = []

    def get(self) -> tuple[Any, ...]:
        """The state of the whole batch."""
        if len(self._parts) > 1:
            columns = zip(*self._parts, strict=True)
            self._parts = [tuple(_joined(column) for column in columns)]
        return self._parts[0]

    def set(self, *tensors: Tensor | None) -> None:
        """Replace it."""
        self._parts = [tensors]

    def park(self) -> None:
        """Set it aside and go on from a fresh one."""
        self._parked.append(self.get())
        self._parts = [self._fresh]

    def unpark(self) -> None:
        """Take back what was set aside, ahead of what came since."""
        self._parts = [*self._parked, *self._parts]
        self._parked = []


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    tensors = [part for part in parts if part is not None]
    return torch.cat(tensors) if len(tensors) == len(parts) else None


def temporal_layers(module: nn.Module) -> list[Temporal]:
    """The layers with state below a module, at any depth."""
    return [layer for layer in module.modules() if isinstance(layer, Temporal)]


def changed_shape(name: str, before: Tensor, now: Tensor) -> StateError:
    """The error of a layer whose input changed shape while a sequence was running."""
    return StateError(
        f"{at(name)}the input's shape changed from {list(before.shape)} to {list(now.shape)} "
        "in the middle of a sequence; call snntorch_ecl.reset(net) before new data"
    )


def unfold(input_: Tensor, num_steps: int, held: int = 1) -> Tensor:
    """Time-major batch to sequence.

    Args:
        input_: ``[T·B, ...]``, or ``[B, ...]`` if it is held constant.
        num_steps: T, the number of steps to return.
        held: For how many steps each row of ``input_`` counts: 1, or ``num_steps``.

    Returns:
        ``[T, B, ...]``; a view where the input is held.

    Raises:
        InputError: The rows are no multiple of the steps.

    Example:
        >>> unfold(torch.arange(6.0), num_steps=3)
        tensor([[0., 1.],
                [2., 3.],
                [4., 5.]])
    """
    if held == num_steps > 1:
        return input_.unsqueeze(0).expand(num_steps, *input_.shape)
    if input_.shape[0] % num_steps:
        raise InputError(f"{input_.shape[0]} rows cannot be {num_steps} steps of one batch")
    return input_.reshape(num_steps, input_.shape[0] // num_steps, *input_.shape[1:])


class Hold(nn.Module):
    """Repeats a constant batch for each step: ``[B, ...]`` to ``[held·B, ...]``, time-major."""

    def forward(self, input_: Tensor, held: int) -> Tensor:
        """Repeat ``input_``; ``held=1`` returns it as it is."""
        if held == 1:
            return input_
        return input_.unsqueeze(0).expand(held, *input_.shape).flatten(0, 1)


class Stepwise(nn.Module, Temporal):
    """Runs any other layer with state inside a converted network, one step at a time.

    Args:
        neuron: A spiking neuron with ``init_hidden=True`` that returns spikes alone, or a module
            that holds such neurons; it maps one tensor to one tensor.
    """

    def __init__(self, neuron: nn.Module) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, input_: Tensor, *, num_steps: int = 1, held: int = 1) -> Tensor:
        """Feed ``[T·B, ...]`` step by step; see :func:`unfold`."""
        steps = unfold(input_, num_steps, held)
        return torch.stack([self.neuron(step) for step in steps]).flatten(0, 1)

    def reset_mem(self) -> None:
        """Reset the neuron inside."""
        reset(self.neuron)


def reset(module: nn.Module) -> None:
    """Make every layer with state below ``module`` forget its sequence, at any depth.

    Args:
        module: A neuron, a network, or anything that holds them. Networks that merely share the
            process keep their state (``snntorch.utils.reset`` clears every neuron alive).

    Example:
        >>> from snntorch_ecl import DualThreshold
        >>> neuron = DualThreshold(init_hidden=True)
        >>> _ = neuron(torch.rand(2))
        >>> reset(neuron)
        >>> neuron.mem
        tensor([0., 0.])
    """
    for layer in module.modules():
        if isinstance(layer, (Temporal, snntorch.SpikingNeuron)) and hasattr(layer, "reset_mem"):
            layer.reset_mem()
