"""The table of layers: one entry for each kind, read by conversion, unit spikes and energy.

To teach the package a layer, add a line here (or call ``ecl.register`` from outside);
:class:`~snntorch_ecl.graph._registry.LayerKind` explains the columns.
"""

from __future__ import annotations

import math

from torch import nn

from ..errors import UnsupportedError
from ..nn import Difference, DualThreshold, Scale, SignedMaxPool, StepBias, ThresholdClip
from ..nn._slope import Slope
from ..nn._stepwise import Hold
from ._registry import LayerKind, add, keep
from ._site import Site
from ._values import IDLE_LAYERS


def _clip(module: nn.Module, site: Site) -> nn.Module:
    """The clip's λ becomes the neuron's θ; spikes are worth θ."""
    assert isinstance(module, ThresholdClip)
    theta, lower = module.threshold.detach(), site.config.negative_threshold
    if module.signed and math.isinf(lower):
        raise UnsupportedError(
            [f"{site.name} (ThresholdClip): signed, and negative_threshold=-inf"],
            "Plain integrate-and-fire neurons have no negative spikes: convert with another.",
        )
    return DualThreshold(
        theta,
        signed=module.signed,
        negative_threshold=0.0 if module.signed else lower,
        initial_membrane=site.config.initial_membrane,
        spike_sizes=site.config.spike_sizes,
        spike_grad=site.config.spike_grad,
        graded_spikes_factor=theta,
        init_hidden=True,
    )


def _max_pool(module: nn.Module, site: Site) -> nn.Module:
    if getattr(module, "return_indices", False):
        raise UnsupportedError(
            [f"{site.name} ({type(module).__name__}): return_indices=True"],
            "Indices of a maximum have no spiking counterpart; pool without them.",
        )
    return SignedMaxPool(module)


def _carry(module: nn.Module, site: Site) -> nn.Module:
    """Its change is emitted; see :class:`~snntorch_ecl.nn.Difference`."""
    return Difference(module)


def _batch_norm(module: nn.Module, site: Site) -> nn.Module:
    """A batch norm that was not folded stays: with running statistics it is affine."""
    if getattr(module, "running_var", None) is None:
        raise UnsupportedError(
            [f"{site.name} ({type(module).__name__}): track_running_stats=False"],
            "Statistics of the running batch depend on the activations; train with "
            "track_running_stats=True.",
        )
    return module


def _flatten(module: nn.Module, site: Site) -> nn.Module:
    name = "start_dim" if isinstance(module, nn.Flatten) else "dim"
    if getattr(module, name) == 0:
        raise UnsupportedError(
            [f"{site.name} ({type(module).__name__}): {name}=0"],
            "Dimension 0 holds time and batch; begin at dimension 1.",
        )
    return module


def _synapses(dims: int | None) -> LayerKind:
    return LayerKind(
        handler=keep,
        cost="synapses",
        scale="weight",
        dims=dims,
        fixed_dims=dims is not None,
        keeps_dims=True,
    )


def _averages(dims: int) -> LayerKind:
    return LayerKind(handler=keep, scale="passes", dims=dims, keeps_dims=True, whole="averages")


def _pads_zeros(dims: int) -> LayerKind:
    return LayerKind(handler=keep, scale="passes", dims=dims, keeps_dims=True, whole="keeps")


def _pools_maximum(dims: int) -> LayerKind:
    return LayerKind(
        handler=_max_pool,
        scale="passes",
        dims=dims,
        keeps_dims=True,
        whole="keeps",
        stateful=True,
    )


def _carried(floats: int, *, from_zero: bool = False) -> LayerKind:
    return LayerKind(
        handler=_carry, cost="floats", keeps_dims=True, carried=True, floats=floats,
        from_zero=from_zero,
    )  # fmt: skip


_IDLE = LayerKind(handler=keep, cost="free", scale="passes", keeps_dims=True, whole="keeps")
_EACH_CHANNEL = LayerKind(handler=keep, scale="passes", keeps_dims=True, whole="averages")
_KEPT = LayerKind(handler=keep, keeps_dims=True)
_MOVES = LayerKind(handler=keep, keeps_dims=True, whole="keeps")
_RESHAPES = LayerKind(handler=_flatten, cost="free", whole="keeps")

# --------------------------------------------------------------------------- weights
add(nn.Linear, kind=_synapses(None))
add(nn.Conv1d, nn.ConvTranspose1d, kind=_synapses(1))
add(nn.Conv2d, nn.ConvTranspose2d, kind=_synapses(2))
add(nn.Conv3d, nn.ConvTranspose3d, kind=_synapses(3))

# ----------------------------------------------------------------------- activations
add(ThresholdClip, kind=LayerKind(handler=_clip, keeps_dims=True, stateful=True))

# ------------------------------------- not affine, but carried; operations for each value
# One for each addition, multiplication, division, comparison and elementary function.
add(nn.Tanh, nn.Softsign, kind=_carried(1))
add(nn.ELU, nn.CELU, nn.SELU, kind=_carried(3))
add(nn.Softplus, nn.Hardsigmoid, kind=_carried(3, from_zero=True))
add(nn.Sigmoid, kind=_carried(4, from_zero=True))
add(nn.LogSigmoid, nn.Hardswish, kind=_carried(4))
add(nn.SiLU, nn.Mish, nn.GELU, kind=_carried(5))
add(nn.Softmax, nn.Softmax2d, kind=_carried(5, from_zero=True))
add(nn.LogSoftmax, kind=_carried(5))
add(nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm, kind=_carried(7))
add(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, kind=_carried(7))
add(nn.GLU, kind=_carried(5))

# ----------------------------------------------------------------------------- norms
add(nn.BatchNorm1d, nn.SyncBatchNorm, kind=LayerKind(handler=_batch_norm, keeps_dims=True))
add(nn.BatchNorm2d, kind=LayerKind(handler=_batch_norm, dims=2, fixed_dims=True))
add(nn.BatchNorm3d, kind=LayerKind(handler=_batch_norm, dims=3, fixed_dims=True))

# ------------------------------------------------------- averages, padding, upsampling
add(nn.AvgPool1d, nn.AdaptiveAvgPool1d, kind=_averages(1))
add(nn.AvgPool2d, nn.AdaptiveAvgPool2d, kind=_averages(2))
add(nn.AvgPool3d, nn.AdaptiveAvgPool3d, kind=_averages(3))
add(nn.ZeroPad1d, kind=_pads_zeros(1))
add(nn.ZeroPad2d, kind=_pads_zeros(2))
add(nn.ZeroPad3d, kind=_pads_zeros(3))
add(nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d, kind=_EACH_CHANNEL)
add(nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d, kind=_MOVES)
add(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d, kind=_MOVES)
add(nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d, kind=_KEPT)
add(nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d, kind=_KEPT)

# --------------------------------------------------------------------------- maxima
add(nn.MaxPool1d, nn.AdaptiveMaxPool1d, kind=_pools_maximum(1))
add(nn.MaxPool2d, nn.AdaptiveMaxPool2d, kind=_pools_maximum(2))
add(nn.MaxPool3d, nn.AdaptiveMaxPool3d, kind=_pools_maximum(3))

# --------------------------------------------------------------------- moving values
add(*IDLE_LAYERS, kind=_IDLE)
add(nn.PixelShuffle, nn.PixelUnshuffle, kind=_MOVES)
add(nn.ChannelShuffle, kind=LayerKind(handler=keep, cost="free", keeps_dims=True, whole="keeps"))
add(nn.Flatten, nn.Unflatten, kind=_RESHAPES)
add(nn.Unfold, nn.Fold, kind=LayerKind(handler=keep))

# -------------------------------------------------------- what conversion itself makes
add(DualThreshold, kind=LayerKind(cost="neurons", keeps_dims=True, stateful=True))
add(Difference, kind=LayerKind(cost="floats", stateful=True))
add(SignedMaxPool, StepBias, kind=LayerKind(keeps_dims=True))
add(Slope, kind=LayerKind(handler=keep, cost="synapses", keeps_dims=True))
add(Scale, kind=LayerKind(cost="synapses", keeps_dims=True))
add(Hold, kind=LayerKind(cost="free", scale="passes", keeps_dims=True, whole="keeps"))
