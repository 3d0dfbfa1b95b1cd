"""The only step of a run: nobody reads the state after it, and writing it takes time."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .._util.precision import wide_type
from ..functional._fused import Scanned
from ..functional._in_place import first_spikes, works_in_place


def stateless(neuron: Any, current: Tensor, threshold: Tensor, *, fused: bool) -> bool:
    """Whether a fresh neuron can leave out its state for currents ``[1, B, ...]``."""
    # A compiled loop then saves little, but for an accelerator.
    if len(current) > 1 or neuron.output or not neuron.init_hidden or (fused and current.is_cuda):
        return False
    return works_in_place(current, threshold)


def only_spikes(
    current: Tensor, threshold: Tensor, factor: Tensor, settings: dict[str, Any]
) -> Scanned:
    """Spikes of fresh neurons, without their state; ``settings`` are those of the equations."""
    spikes = first_spikes(current, threshold, **settings).mul_(factor)
    # Membranes are finite where currents are, and θ, which was not read on an accelerator.
    total = current.sum(dtype=wide_type(current.dtype))
    return Scanned(spikes, None, total if current.is_cpu else total + threshold.sum())
