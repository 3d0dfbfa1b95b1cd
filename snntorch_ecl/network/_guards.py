"""Checks before and after a run: a NaN would otherwise look like a silent neuron."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .._util.torch_internals import can_be_read, is_compiling, is_transformed
from .._util.turns import turn_of
from ..errors import InputError, StateError
from ..nn._dual_threshold import DualThreshold
from ..nn._stepwise import reset


class Finite:
    """Collects what must be finite in a run, and raises an error for the first that is not.

    Accelerators work while Python goes on, and reading one of their values waits for all that they
    have to do. So what was collected there is read once, at the end of the run.

    Example:
        >>> finite = Finite()
        >>> finite.see(torch.ones(2).isfinite(), ["a", "b"], StateError)
        >>> finite.read()
    """

    def __init__(self) -> None:
        self._flags: list[Tensor] = []
        self._errors: list[Callable[[], Exception]] = []

    def see(self, flags: Tensor, about: Sequence[Any], error: Callable[[Any], Exception]) -> None:
        """Flags ``[N]`` of N things, bool; ``error`` makes the error for one that is false."""
        self._flags.append(flags)
        self._errors += [partial(error, one) for one in about]
        if flags.device.type == "cpu":
            self.read()

    def read(self) -> None:
        """Read what was collected; the first value that is not finite raises its error."""
        if not self._flags:
            return
        device, errors = self._flags[0].device, self._errors
        finite = read_flags(torch.cat([flags.to(device) for flags in self._flags]))
        self._flags, self._errors = [], []
        for fine, error in zip(finite, errors, strict=True):
            if not fine:
                raise error()


def read_flags(flags: Tensor) -> list[bool]:
    """The one place where the host reads values of a run ``[N]``."""
    found: list[bool] = flags.tolist()
    return found


def see_inputs(finite: Finite, inputs: tuple[Tensor, ...]) -> None:
    """Collect whether inputs are finite."""
    for index, x in enumerate(inputs):
        if x.is_floating_point() and can_be_read(x):
            finite.see(x.detach().isfinite().all().view(1), [(index, list(x.shape))], _not_finite)


def _not_finite(what: tuple[int, list[int]]) -> InputError:
    index, shape = what
    return InputError(
        f"input {index} of shape {shape} holds NaN or infinity; a spiking network would turn it "
        "into silence"
    )


def see_membranes(finite: Finite, names: Sequence[str], sums: Tensor) -> None:
    """Collect whether membranes are finite: sums ``[N]``, one for each neuron.

    Comparisons with NaN are false, so a neuron would just stop spiking.
    """
    dtype = str(sums.dtype).removeprefix("torch.")
    finite.see(sums.isfinite(), names, partial(_overflow, dtype))


def _overflow(dtype: str, name: str) -> StateError:
    return StateError(
        f"the membrane of {name} is NaN or infinite: currents overflow {dtype}; check the weights "
        "before it, or run in float32"
    )


def check_inputs(inputs: tuple[Tensor, ...], arity: int, leading: str = "[B, ...]") -> None:
    """Check that ``arity`` tensors are given, with one non-empty dimension 0."""
    if len(inputs) != arity:
        raise InputError(f"this network takes {arity} input(s); got {len(inputs)}")
    for index, x in enumerate(inputs):
        if not isinstance(x, Tensor) or x.ndim < 1 or x.shape[0] < 1:
            what = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"input {index} must be a tensor of shape {leading}; got {what}")
        if x.shape[0] != inputs[0].shape[0]:
            raise InputError(
                f"inputs 0 and {index} differ in dimension 0: {inputs[0].shape[0]} and {x.shape[0]}"
            )
        if is_compiling():
            continue
        if is_transformed(x) and torch.is_grad_enabled():
            raise InputError(
                "torch.func (vmap, grad, …) cannot differentiate snnTorch's surrogate gradients: "
                "call the network under torch.no_grad(), or differentiate with loss.backward()"
            )


def check_sequences(inputs: tuple[Tensor, ...], arity: int) -> None:
    """:func:`check_inputs` for inputs ``[T, B, ...]`` that change over time."""
    check_inputs(inputs, arity, leading="[T, B, ...]")
    if any(x.ndim < 2 or x.shape[1] < 1 for x in inputs):
        shapes = [list(x.shape) for x in inputs]
        raise InputError(f"forward_steps needs inputs of shape [T, B >= 1, ...]; got {shapes}")
    for index, x in enumerate(inputs):
        if x.shape[1] != inputs[0].shape[1]:
            raise InputError(
                f"inputs 0 and {index} differ in batch size: {inputs[0].shape[1]} and {x.shape[1]}"
            )


def membrane_sums(neurons: Sequence[DualThreshold]) -> Tensor | None:
    """Sums ``[N]``, which are finite only if all membranes are; None if they cannot be read."""
    if not neurons or not all(can_be_read(neuron.mem) for neuron in neurons):
        return None
    sums = [neuron.mem_sum for neuron in neurons]
    return torch.stack([total.to(sums[0].device) for total in sums])


@contextmanager
def measuring(network: nn.Module) -> Iterator[None]:
    """Run the block in eval mode; then restore every module's mode and reset the network.

    Other threads that use the network wait meanwhile: keep the block to one batch.
    """
    turn = turn_of(network)
    with turn.alone() if turn else nullcontext():
        modes = [(module, module.training) for module in network.modules()]
        network.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            reset(network)
