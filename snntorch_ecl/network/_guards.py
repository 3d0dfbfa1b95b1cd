"""Checks before and after a run: a NaN would otherwise look like a silent neuron."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from .._util.torch_internals import can_be_read, is_transformed
from .._util.turns import turn_of
from ..errors import InputError, StateError
from ..nn._dual_threshold import DualThreshold
from ..nn._stepwise import reset


def check_inputs(inputs: tuple[Tensor, ...], arity: int, leading: str = "[B, ...]") -> None:
    """Check that ``arity`` tensors are given, finite and with one non-empty dimension 0."""
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
        if torch.compiler.is_compiling():
            continue
        if is_transformed(x) and torch.is_grad_enabled():
            raise InputError(
                "torch.func (vmap, grad, …) cannot differentiate snnTorch's surrogate gradients: "
                "call the network under torch.no_grad(), or differentiate with loss.backward()"
            )
        if not (x.is_floating_point() and can_be_read(x)):
            continue
        if not bool(x.isfinite().all()):
            raise InputError(
                f"input {index} of shape {list(x.shape)} holds NaN or infinity; a spiking "
                "network would turn it into silence"
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


def check_membranes(neurons: Mapping[str, DualThreshold]) -> None:
    """Raise :class:`StateError` if a membrane is NaN or infinite after a run.

    Comparisons with NaN are false, so the neuron would just stop spiking.
    """
    if not all(can_be_read(neuron.mem) for neuron in neurons.values()) or not neurons:
        return
    # Look at single neurons only if a sum is not finite.
    sums = torch.stack([neuron.mem_sum for neuron in neurons.values()])
    if bool(sums.isfinite().all()):
        return
    for name, neuron in neurons.items():
        if not bool(neuron.mem.detach().isfinite().all()):
            raise StateError(
                f"the membrane of {name} is NaN or infinite: currents overflow "
                f"{neuron.mem.dtype}; check the weights before it, or run in float32"
            )


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
