"""Layers with state over time, and the layout of a sequence.

A converted network runs on time-major batches ``[T·B, ...]``: row ``t·B + b`` is image ``b`` at
step ``t``. Layers without state need not know; a :class:`Temporal` layer unfolds the time axis.
"""

from __future__ import annotations

from torch import Tensor, nn

from .._util.checks import at
from ..errors import InputError, StateError


class Temporal:
    """Mixin for a layer that must see time steps one after the other.

    Derive from it (and from ``nn.Module``) to use your own stateful layer with ``convert``. Its
    ``forward(input_, *, num_steps, held)`` gets ``[T·B, ...]`` and turns it into ``[T, B, ...]``
    with :func:`unfold`; ``reset_mem()`` resets its state.

    Example:
        >>> class RunningSum(nn.Module, Temporal):
        ...     total = 0
        ...     def forward(self, input_, *, num_steps=1, held=1):
        ...         sums = unfold(input_, num_steps, held).cumsum(0) + self.total
        ...         self.total = sums[-1]
        ...         return sums.flatten(0, 1)
        ...     def reset_mem(self):
        ...         self.total = 0
        >>> import torch
        >>> RunningSum()(torch.ones(3), num_steps=3).tolist()
        [1.0, 2.0, 3.0]
    """

    def reset_mem(self) -> Tensor | None:
        """Forget the sequence seen so far."""
        raise NotImplementedError(f"{type(self).__name__} must define reset_mem()")

    def begin(self) -> None:
        """Called when a run begins: reset the state, and free its memory."""
        self.reset_mem()

    def park(self) -> None:
        """Store the state and start fresh, for the next group of images of the same batch.

        If a layer does not define it, batches are not run in groups.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define park()")

    def end(self) -> None:
        """Called when a run is over: join the states of its groups, in their order."""

    def detach_state(self) -> None:
        """Cut the state off the graph of the steps so far, for truncated backpropagation."""

    def select(self, rows: Tensor) -> None:
        """Go on with some images of the running batch; if not defined, early exit keeps them all.

        Args:
            rows: A mask ``[B]``, bool: the images that go on.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define select()")


def temporal_layers(module: nn.Module) -> list[Temporal]:
    """The layers with state below a module, at any depth."""
    return [layer for layer in module.modules() if isinstance(layer, Temporal)]


def changed_shape(name: str, before: Tensor, now: Tensor) -> StateError:
    """The error for an input whose shape changed in the middle of a sequence."""
    return StateError(
        f"{at(name)}the input's shape changed from {list(before.shape)} to {list(now.shape)} "
        "in the middle of a sequence; call snntorch_ecl.reset(net) before new data"
    )


def unfold(input_: Tensor, num_steps: int, held: int = 1) -> Tensor:
    """Turn a time-major batch into a sequence.

    Args:
        input_: ``[T·B, ...]``, or ``[B, ...]`` if it is held constant.
        num_steps: T, the number of steps to return.
        held: How many steps each row of ``input_`` stands for: 1, or ``num_steps``.

    Returns:
        ``[T, B, ...]``; a view where the input is held.

    Raises:
        InputError: The number of rows is not a multiple of the number of steps.

    Example:
        >>> import torch
        >>> unfold(torch.arange(6.0), num_steps=3)
        tensor([[0., 1.],
                [2., 3.],
                [4., 5.]])
    """
    if held == num_steps > 1:
        return input_.unsqueeze(0).expand(num_steps, *input_.shape)
    if input_.shape[0] % num_steps:
        raise InputError(
            f"{input_.shape[0]} rows cannot be split into {num_steps} equal time steps"
        )
    return input_.reshape(num_steps, input_.shape[0] // num_steps, *input_.shape[1:])
