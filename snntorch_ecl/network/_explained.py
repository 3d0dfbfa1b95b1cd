"""Explain torch's errors about inputs: dimensions, types, and the layer that they do not fit."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from .._util.torch_internals import is_compiling
from ..errors import InputError, StateError
from ..nn._stepwise import reset
from ._refusing_layer import refusing_layer


def explained(
    network: nn.Module, inputs: tuple[Tensor, ...], *, held: bool = True
) -> AbstractContextManager[object]:
    """Turn an error into :class:`InputError` that says which type, dimension or shape is wrong."""
    if is_compiling():
        return nullcontext()
    return _Explained(network, inputs, held)


class _Explained:
    def __init__(self, network: nn.Module, inputs: tuple[Tensor, ...], held: bool) -> None:
        self._network, self._inputs, self._held = network, inputs, held

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        if not isinstance(error, (RuntimeError, InputError, IndexError)):
            return
        if isinstance(error, (StateError, torch.OutOfMemoryError)):
            return
        axis = 0 if self._held else 1
        once = self._inputs if self._held else tuple(x[0] for x in self._inputs)
        shapes = ", ".join(str(list(x.shape)) for x in self._inputs)
        if self._runs(once):  # the error has another cause
            return
        kinds = {x.dtype for x in once if not x.is_floating_point()}
        if kinds and self._runs(tuple(x.float() for x in once)):
            raise InputError(
                f"input of type {', '.join(map(str, kinds))}: give floating-point numbers, scaled "
                "as in the training (for images of 0 to 255 often x.float() / 255)"
            ) from error
        if self._runs(tuple(x.unsqueeze(0) for x in once)):
            raise InputError(
                f"input of shape {shapes} has no batch dimension: give x.unsqueeze({axis}), which "
                "is a batch of one"
            ) from error
        if all(x.ndim > 1 and len(x) for x in once) and self._runs(tuple(x[0] for x in once)):
            raise InputError(
                f"input of shape {shapes} has a dimension too many. A sequence [T, B, ...], one "
                "input for each step, is for forward_steps, or for sequences=True in evaluate and "
                "energy; there, each step is [B, ...]"
            ) from error
        words = refusing_layer(self._network, lambda twin: _run(twin, once, 1), *self._inputs)
        if words:
            raise InputError(words) from error

    def _runs(self, inputs: tuple[Tensor, ...]) -> bool:
        """Whether the network takes ``[B, ...]``; in two steps, a row is not taken for a batch."""
        try:
            # A copy: the network itself may be amid a sequence of steps, which goes on.
            twin = copy.deepcopy(self._network).eval()
            with torch.no_grad():
                _run(twin, inputs, 2)
        except Exception:
            return False
        return True


def _run(twin: nn.Module, inputs: tuple[Tensor, ...], num_steps: int) -> None:
    """Run a copy of a spiking network from its start, with constant input."""
    reset(twin)
    twin.get_submodule("net")(*inputs, num_steps=num_steps, held=num_steps)
