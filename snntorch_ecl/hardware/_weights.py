"""Weights of linear layers and convolutions, by input channel and by output channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._util.torch_internals import TransposedConvolution
from ..conversion._unit_spikes import _along_inputs


def times_inputs(layer: nn.Module, unit: Tensor) -> Tensor:
    """The layer's weights in float64, times what 1 is worth in each input channel."""
    weight = _weight(layer).detach().double()
    unit = unit.to(weight.device)
    return weight * (unit if unit.numel() == 1 else _along_inputs(layer, weight, unit))


def fits_inputs(layer: nn.Module, unit: Tensor, *, flat: bool) -> bool:
    """Whether a unit by channel lies along the dimension that a layer's weights act on."""
    if unit.numel() == 1:
        return True
    if isinstance(layer, nn.Linear):
        return flat and layer.in_features % unit.numel() == 0
    return bool(layer.in_channels == unit.numel())


def by_output(layer: nn.Module, weight: Tensor) -> Tensor:
    """A layer's weights as ``[outputs, fan-in]``."""
    if not isinstance(layer, TransposedConvolution):
        return weight.flatten(1)
    groups = layer.groups  # [in, out / groups, ...]
    split = weight.view(groups, -1, *weight.shape[1:]).transpose(1, 2)
    return split.reshape(weight.shape[1] * groups, -1)


def times_outputs(layer: nn.Module, weight: Tensor, factor: Tensor) -> Tensor:
    """Weights times a factor ``[]`` or ``[outputs]``."""
    if factor.ndim == 0:
        return weight * factor
    if not isinstance(layer, TransposedConvolution):
        return weight * factor.view(-1, *[1] * (weight.ndim - 1))
    groups = layer.groups
    split = weight.view(groups, -1, *weight.shape[1:])
    along = factor.view(groups, 1, -1, *[1] * (weight.ndim - 2))
    return (split * along).view(weight.shape)


def _weight(layer: nn.Module) -> Tensor:
    assert isinstance(layer.weight, Tensor)
    return layer.weight


def bias_of(layer: nn.Module) -> Tensor:
    """A layer's bias in float64, or zero."""
    bias = layer.bias
    if not isinstance(bias, Tensor):
        return torch.zeros((), dtype=torch.float64)
    return bias.detach().double().cpu()
