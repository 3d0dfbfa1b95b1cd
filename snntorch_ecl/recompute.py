"""Activations that are computed again in the backward pass rather than kept for it.

A layer that keeps its own input can give its output again. While hooks of this module are on,
whoever saves that output for the backward pass (the next convolution, say) keeps the way to it
instead. The values are the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .errors import StateError

__all__ = ["part_of_recomputing", "recomputes", "remember", "start_recomputing"]


class _Recipe(NamedTuple):
    sources: tuple[Tensor, ...]
    source_versions: tuple[int, ...]
    version: int  # of the output: what was changed in place since is not what the recipe gives
    make: Callable[..., Tensor]


def remember(output: Tensor, sources: tuple[Tensor, ...], make: Callable[..., Tensor]) -> None:
    """Tell how an output is made, as long as it lives.

    Args:
        output: A tensor that owns its memory.
        sources: What it was made from, kept for the backward pass anyway; the first of them is
            shaped, typed and laid out in memory like the output.
        make: Gives the output from the sources.
    """
    versions = tuple(source._version for source in sources)
    recipe = _Recipe(tuple(s.detach() for s in sources), versions, output._version, make)
    # On the storage, which is the same for each view and each copy of the Python object.
    output.untyped_storage().recipe = recipe  # type: ignore[attr-defined]


def start_recomputing(network: nn.Module) -> None:
    """Let a network's forward pass keep recipes in place of the outputs that have one.

    Args:
        network: Any module. Where nothing is remembered, nothing changes.
    """
    if not recomputes(network):
        network.register_forward_pre_hook(_enter)
        network.register_forward_hook(_leave, always_call=True)


def recomputes(network: nn.Module) -> bool:
    """Whether :func:`start_recomputing` was called for a network."""
    return _enter in network._forward_pre_hooks.values()


def part_of_recomputing(hook: object) -> bool:
    """Whether a hook is one of :func:`start_recomputing`'s."""
    return hook in (_enter, _leave)


def _enter(network: nn.Module, args: Any) -> None:
    if not torch.compiler.is_compiling():
        torch.autograd.graph.saved_tensors_hooks(_pack, _unpack).__enter__()


def _leave(network: nn.Module, args: Any, output: Any) -> None:
    if not torch.compiler.is_compiling():
        torch.autograd.graph.saved_tensors_hooks(_pack, _unpack).__exit__()


def _pack(saved: Tensor) -> Tensor | _Recipe:
    dense = saved.layout is torch.strided  # others have no storage
    recipe: _Recipe | None = getattr(saved.untyped_storage(), "recipe", None) if dense else None
    if recipe is None or saved._version != recipe.version:
        return saved
    like = recipe.sources[0]
    whole = saved.shape == like.shape and saved.stride() == like.stride()
    return recipe if whole and saved.storage_offset() == 0 and saved.dtype == like.dtype else saved


def _unpack(packed: Tensor | _Recipe) -> Tensor:
    if isinstance(packed, Tensor):
        return packed
    if tuple(source._version for source in packed.sources) != packed.source_versions:
        raise StateError(
            "the input or the threshold of a ThresholdClip was changed in place after its forward "
            "pass, and the backward pass needs it: run it before the optimiser's step, and "
            "operations that are not in place"
        )
    return packed.make(*packed.sources)
