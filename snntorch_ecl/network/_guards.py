"""What a spiking network checks before and after a run: NaN would only look like silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..errors import InputError, StateError
from ..nn._dual_threshold import DualThreshold
from ..nn._stepwise import reset


def check_inputs(inputs: tuple[Tensor, ...], arity: int, leading: str = "[B, ...]") -> None:
    """Check what a network is given.

    Args:
        inputs: The inputs.
        arity: How many it takes.
        leading: Their shape, for errors.

    Raises:
        InputError: Another number of inputs, something that is no tensor, a dimension 0 that is
            empty or differs, NaN or infinity.
    """
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
        if torch.compiler.is_compiling() or not x.is_floating_point():
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
    """Check the state that a run has left: comparisons with NaN are false, and so no spike.

    Args:
        neurons: By their layer's name.

    Raises:
        StateError: A membrane is NaN or infinite; names the layer.
    """
    if not neurons or torch.compiler.is_compiling():
        return
    # Only a sum that is not finite is worth a closer look.
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
    """Eval mode for now; in the end each module's own mode again, and the sequence forgotten.

    Args:
        network: What is measured; it may be in the middle of a training.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        reset(network)
