"""The activation compiled: one pass over memory forward, one backward, one tensor kept.

As plain tensor operations the clip reads and writes memory seven times where ReLU does once. And
for λ's gradient it keeps its input, while the next layer keeps its output: twice what ReLU's
network holds. Here the output is not kept, but computed again from the input (see
:mod:`snntorch_ecl.recompute`). The equations are those of :mod:`snntorch_ecl.clip`.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from . import clip
from .compiler import compiled, works_on
from .recompute import remember

__all__ = ["learned_clip", "usable"]


def usable(x: Tensor) -> bool:
    """Whether :func:`learned_clip` can run: not inside a network that is compiled as a whole.

    Warns where nothing can be compiled.

    Args:
        x: The activation's input.
    """
    if torch.compiler.is_compiling() or not x.is_floating_point():
        return False
    return works_on(x.device.type)


def learned_clip(x: Tensor, raw_threshold: Tensor, levels: int | None) -> Tensor:
    """``threshold_clip(x, positive(raw_threshold), levels)``, compiled on first use (some seconds).

    It is called between large operations that leave nothing of Python in the processor's caches:
    so λ is made positive in the same loop. In half precision it rounds once, where tensor
    operations round at each.

    Args:
        x: Pre-activations, ``[B, C, ...]``, where :func:`usable`.
        raw_threshold: λ's parameter, finite; broadcasts to ``x``.
        levels: L, or None to clip without quantising.

    Returns:
        Tensor shaped like ``x``.
    """
    return _LearnedClip.apply(x, raw_threshold, levels)  # type: ignore[no-any-return]


class _LearnedClip(torch.autograd.Function):
    """``h(x)``; keeps the input, or without levels the output, which the next layer keeps too."""

    # With a context of its own, `setup_context`, each call would bind arguments by inspection.
    @staticmethod
    def forward(ctx: Any, x: Tensor, raw: Tensor, levels: int | None) -> Tensor:
        # Detached, for the compiler asks of each tensor whether it needs gradients.
        own, of_all = x.detach(), raw.detach()
        output = _quantise(own, of_all, levels)
        ctx.levels = levels
        ctx.save_for_backward(output if levels is None else x, raw)
        if levels is not None and any(ctx.needs_input_grad):
            remember(output, (own, of_all), functools.partial(_quantise, levels=levels))
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        kept, raw = (saved.detach() for saved in ctx.saved_tensors)
        if grad.stride() != kept.stride():
            grad = torch.empty_like(kept).copy_(grad)
        lines = _lines(kept) if raw.numel() == 1 else None
        if lines is None:
            of_x, of_raw = _compiled_gradients()(grad, kept, raw, ctx.levels)
        else:
            flat = grad.as_strided(lines.shape, (1,))
            of_x, of_raw = _compiled_gradients()(flat, lines, raw.reshape(()), ctx.levels)
            of_x, of_raw = of_x.as_strided(kept.shape, kept.stride()), of_raw.reshape(raw.shape)
        wanted = ctx.needs_input_grad
        return of_x if wanted[0] else None, of_raw if wanted[1] else None, None


def _quantise(x: Tensor, raw: Tensor, levels: int | None) -> Tensor:
    lines = _lines(x) if raw.numel() == 1 else None
    if lines is None:
        out: Tensor = _compiled_quantise()(x, raw, levels)
        return out
    out = _compiled_quantise()(lines, raw.reshape(()), levels)
    # Not a view of the lines: operations in place may follow, which autograd refuses on those.
    whole = out.new_empty(0)
    return whole.set_(out.untyped_storage(), 0, x.shape, x.stride())


def _lines(x: Tensor) -> Tensor | None:
    """The elements as memory has them, one dimension for any layer; None if there are gaps."""
    if x.is_contiguous():
        return x.view(-1)
    if x.ndim > 2 and x.movedim(1, -1).is_contiguous():  # channels last
        return x.as_strided((x.numel(),), (1,))
    return None


@functools.cache
def _compiled_quantise() -> Any:
    def quantise(x: Tensor, raw: Tensor, levels: int | None) -> Tensor:
        return clip.quantise(x, clip.positive(raw).to(x.dtype), levels)

    return compiled(quantise)


@functools.cache
def _compiled_gradients() -> Any:
    def gradients(
        grad: Tensor, kept: Tensor, raw: Tensor, levels: int | None
    ) -> tuple[Tensor, Tensor]:
        threshold = clip.positive(raw).to(kept.dtype)
        passes = clip.inside(kept, threshold)
        total = clip.gradient_of_threshold(grad, kept, passes, threshold, levels).to(raw.dtype)
        return torch.where(passes, grad, 0), torch.where(raw < 0, -total, total)

    return compiled(gradients)
