"""Layers with state over time, and how a sequence is laid out when it runs through them.

A converted network runs on time-major batches ``[T·B, ...]``: row ``t·B + b`` is image ``b`` at
step ``t``. Layers without state never notice; a :class:`Temporal` layer unfolds the time axis.
"""

from __future__ import annotations

from torch import Tensor, nn

from .._util.checks import at
from ..errors import InputError, StateError


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
        >>> import torch
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
