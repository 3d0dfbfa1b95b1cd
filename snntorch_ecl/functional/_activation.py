"""The activation's equation and its gradients. Public as :mod:`snntorch_ecl.functional`.

Source: ECL (arXiv 2506.01968), eq. 2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .._util.checks import SMALLEST_THRESHOLD, check_levels, check_threshold


def quantise(x: Tensor, threshold: Tensor, levels: int | None, signed: bool = False) -> Tensor:
    """``h(x)`` as a new tensor, without checks and gradients; λ broadcasts to ``x``."""
    # In place on one new tensor: memory access takes longer than the arithmetic. But not in the
    # last operation: compiled by torch 2.11, a Function that returns what it changed in place has
    # no gradient at all, without an error.
    if levels is None:
        return torch.minimum(torch.maximum(x, -threshold) if signed else x.clamp_min(0), threshold)
    # x·L/λ in this order: dividing by λ/L would round ties down where λ/L is not dyadic.
    level = x.mul(levels).div_(threshold).add_(0.5).floor_()
    # It clamps, and unlike clamp_ it has a rule for vmap.
    lowest = -levels if signed else 0
    return nn.functional.hardtanh_(level, lowest, levels).div_(levels).mul(threshold)


def inside(kept: Tensor, threshold: Tensor, signed: bool = False) -> Tensor:
    """Where gradients pass: where the input (without levels, the output) is between both ends."""
    return kept.abs() < threshold if signed else (kept > 0) & (kept < threshold)


def gradient_of_threshold(
    grad: Tensor,
    kept: Tensor,
    passes: Tensor,
    threshold: Tensor,
    levels: int | None,
    signed: bool = False,
) -> Tensor:
    """λ's gradient ``Σ grad · dh/dλ``, shaped like λ; ``passes`` is :func:`inside` of ``kept``."""
    if levels is None:
        clipped = (kept >= threshold).to(grad.dtype)
        if signed:
            clipped.sub_((kept <= -threshold).to(grad.dtype))
        return clipped.mul_(grad).sum_to_size(threshold.shape)
    # λ · dh/dλ is h − x where gradients pass, and h elsewhere.
    error = quantise(kept, threshold, levels, signed).sub_(torch.where(passes, kept, 0))
    return error.mul_(grad).sum_to_size(threshold.shape) / threshold


_Inputs = tuple[Tensor, Tensor, "int | None", bool]


class _ThresholdClip(torch.autograd.Function):
    """``h(x)`` with straight-through gradients; saves one tensor, the output if it can."""

    @staticmethod
    def forward(x: Tensor, threshold: Tensor, levels: int | None, signed: bool) -> Tensor:
        return quantise(x, threshold, levels, signed)

    @staticmethod
    def setup_context(ctx: Any, inputs: _Inputs, output: Tensor) -> None:
        x, threshold, levels, signed = inputs
        ctx.levels, ctx.signed = levels, signed
        # With levels, dh/dλ needs the rounding error of each value, and so x. Without, the output
        # is enough, and the next layer saves it anyway, as it does ReLU's.
        if levels is None:
            ctx.save_for_backward(output, threshold)
        elif ctx.needs_input_grad[1]:
            ctx.save_for_backward(x, threshold)
        else:
            ctx.save_for_backward(inside(x, threshold, signed), threshold)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        kept, threshold = ctx.saved_tensors
        passes = kept if kept.dtype == torch.bool else inside(kept, threshold, ctx.signed)
        of_x = grad * passes if ctx.needs_input_grad[0] else None
        of_threshold = None
        if ctx.needs_input_grad[1]:
            settings = (threshold, ctx.levels, ctx.signed)
            of_threshold = gradient_of_threshold(grad, kept, passes, *settings)
        return of_x, of_threshold, None, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        x: Tensor,
        threshold: Tensor,
        levels: int | None,
        signed: bool,
    ) -> tuple[Tensor, int]:
        of_x, of_threshold, *_ = in_dims
        x = x.expand(info.batch_size, *x.shape) if of_x is None else x.movedim(of_x, 0)
        if of_threshold is not None:
            threshold = threshold.movedim(of_threshold, 0)
            missing = x.ndim - threshold.ndim
            threshold = threshold.reshape(-1, *[1] * missing, *threshold.shape[1:])
        return _ThresholdClip.apply(x, threshold, levels, signed), 0


def threshold_clip(
    x: Tensor, threshold: Tensor | float, levels: int | None = 4, *, signed: bool = False
) -> Tensor:
    r"""Clip at a threshold and quantise to equal levels.

    .. math:: h(x) = λ · \mathrm{clip}(⌊x·L/λ + 1/2⌋ / L,\; 0,\; 1)

    A ``signed`` clip begins at −λ instead of 0: it has L levels on either side of 0.

    Gradients are straight-through: ``dh/dx = 1[0 < x/λ < 1]``, zero *at* both borders, and
    ``dh/dλ = h/λ − (x/λ)·1[0 < x/λ < 1]``. Ties round up (``floor(u + 1/2)``, not
    half-to-even), as the neuron's ``v ≥ θ`` does. Of a signed clip, gradients pass where
    ``−1 < x/λ < 1``.

    Args:
        x: Pre-activations, ``[B, C, ...]``, any floating dtype.
        threshold: λ > 0, in the unit of ``x``: a number, or a tensor that broadcasts to ``x``.
        levels: L ≥ 1, or None to clip without quantising.
        signed: Clip between −λ and λ, for values of either sign.

    Returns:
        Tensor shaped like ``x``, with values in ``{0, λ/L, …, λ}``, and their negatives if signed.

    Raises:
        ConfigError: λ is not positive and finite, or L < 1. (The values of a tensor λ on an
            accelerator are not read back; :class:`~snntorch_ecl.ThresholdClip` guards them.)
        InputError: ``x`` is not floating-point, or λ does not broadcast to it.

    Source: ECL eq. 2; the same function is QCFS in Bu et al., ICLR 2022. The signed one is this
    package's own.

    Example:
        >>> threshold_clip(torch.tensor([-1.0, 0.3, 0.375, 2.0]), 1.0, levels=4)
        tensor([0.0000, 0.2500, 0.5000, 1.0000])
        >>> threshold_clip(torch.tensor([-1.0, -0.375, 0.375]), 1.0, levels=4, signed=True)
        tensor([-1.0000, -0.2500,  0.5000])
    """
    check_levels(levels)
    threshold = check_threshold(threshold, like=x)
    return clip_unchecked(x, threshold, levels, signed)


def clip_unchecked(
    x: Tensor, threshold: Tensor, levels: int | None, signed: bool = False
) -> Tensor:
    """``threshold_clip`` where λ's values cannot be read."""
    clipped: Tensor = _ThresholdClip.apply(x, threshold.to(x.dtype), levels, signed)
    return clipped


def positive(raw: Tensor) -> Tensor:
    """The positive threshold that a freely trained parameter stands for.

    ``max(|raw|, 1e-6)``: exact for every threshold from 1e-6 on. If an optimiser steps across
    zero, the threshold is reflected, so the layer stays alive. The gradient is the sign of
    ``raw``, also below 1e-6, so that a threshold can always grow again.

    Args:
        raw: Any finite tensor, in the unit of the activations.

    Returns:
        Tensor of the same shape, ≥ 1e-6.

    Example:
        >>> positive(torch.tensor([2.0, -0.5, 0.0]))
        tensor([2.0000e+00, 5.0000e-01, 1.0000e-06])
    """
    reflected = torch.where(raw < 0, -raw, raw)
    lift = (SMALLEST_THRESHOLD - reflected.detach()).clamp_min(0)
    return reflected + lift
