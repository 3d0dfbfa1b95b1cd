"""How the values of one step lie in memory: kept from a neuron's input to its output."""

from __future__ import annotations

import torch
from torch import Tensor

from .._util.torch_internals import is_compiling, is_transformed

_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def layout_of(step: Tensor) -> torch.memory_format:
    """The memory format of ``[B, ...]``: channels last, or contiguous for all others."""
    last = _LAST.get(step.ndim)
    if last is None or step.is_contiguous():
        return torch.contiguous_format
    if not is_compiling() and is_transformed(step):  # vmap cannot tell
        return torch.contiguous_format
    return last if step.is_contiguous(memory_format=last) else torch.contiguous_format


def room_for(current: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Memory for what comes of currents ``[T, B, ...]``, in which each step lies alike."""
    layout, dtype = layout_of(current[0]), dtype or current.dtype
    if layout == torch.contiguous_format:
        return torch.empty_like(current, dtype=dtype, memory_format=layout)
    steps, rows, *others = current.shape
    made = torch.empty(
        (steps * rows, *others), dtype=dtype, device=current.device, memory_format=layout
    )
    return made.view(current.shape)


def joined(steps: list[Tensor]) -> Tensor:
    """Steps ``[B, ...]`` as ``[T, B, ...]``, in which each lies alike."""
    if layout_of(steps[0]) == torch.contiguous_format:
        return torch.stack(steps)
    return torch.cat(steps).view(len(steps), *steps[0].shape)
