"""The layers of NIR's nodes: what is no layer is told in words."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import EclError
from ..graph._registry import LayerKind, add
from ..nn import DualThreshold, Scale

VERSION = 1
"""Version of the convention for a node's metadata."""


class Threshold(nn.Module):
    """NIR's ``Threshold``: 1 where its input is above, else 0, at each step by itself.

    Args:
        threshold: ``[...]``, one for each value.

    Example:
        >>> Threshold(torch.tensor([0.5, 0.5]))(torch.tensor([[0.0, 2.0]])).tolist()
        [[0.0, 1.0]]
    """

    threshold: Tensor

    def __init__(self, threshold: Tensor) -> None:
        super().__init__()
        self.register_buffer("threshold", threshold)

    def forward(self, input_: Tensor) -> Tensor:
        """Compare ``[B, ...]``."""
        return (input_ > self.threshold).to(input_.dtype)


add(Threshold, kind=LayerKind(cost="free", keeps_dims=True))


class UnreadableError(Exception):
    """Why a node has no layer."""


def layer_of(nir: ModuleType, node: Any) -> nn.Module:
    """A node's layer; :class:`UnreadableError` if it has none."""
    try:
        if isinstance(node, nir.IF):
            return _neuron(node)
        if isinstance(node, (nir.Conv1d, nir.Conv2d)):
            return _convolution(nir, node)
        if isinstance(node, (nir.Affine, nir.Linear)):
            return _linear(node)
        if isinstance(node, (nir.AvgPool2d, nir.SumPool2d)):
            size, stride, padding = map(_ints, (node.kernel_size, node.stride, node.padding))
            divisor = 1 if isinstance(node, nir.SumPool2d) else None
            return nn.AvgPool2d(size, stride, padding, divisor_override=divisor)
        if isinstance(node, nir.Flatten):
            start, end = int(node.start_dim), int(node.end_dim)
            return nn.Flatten(start + (start >= 0), end + (end >= 0))  # NIR counts no batch
        if isinstance(node, nir.Threshold):
            return Threshold(numbers(node.threshold, "threshold"))
        if isinstance(node, nir.Scale):
            return Scale(_by_channel(node.scale, "scale"))
    except EclError as error:
        raise UnreadableError(str(error)) from error
    raise UnreadableError("a node of this kind is not known")


def _neuron(node: Any) -> DualThreshold:
    """A neuron with the start, reset and bounds of its metadata."""
    known = {key: plain(value) for key, value in node.metadata.items()}
    missing = [key for key in _NEEDED if key not in known]
    if missing:
        lack = f"its metadata lacks {', '.join(missing)}"
        raise UnreadableError(f"{lack}, and NIR leaves open how it resets")
    lower, start = (_number(known[key], key) for key in _NEEDED[1:3])
    spikes = [0 if lower == -math.inf else -1, 1]
    for key, value in {**_FIXED, "ecl_spikes": spikes}.items():
        given = known.get(key, value)
        given = given.tolist() if isinstance(given, np.ndarray) else given
        if given != value:
            raise UnreadableError(f"its {key} is {given!r}, and only {value!r} is known here")
    if bool((numbers(node.r, "r") != 1).any()):
        raise UnreadableError("its r is not 1")
    theta = _by_channel(node.v_threshold, "thresholds")
    channels = (len(node.v_threshold), 1)
    if "ecl_pulses" in known:
        pulses = numbers(known["ecl_pulses"], "ecl_pulses")
        if pulses.ndim != 2 or not len(pulses) or pulses.shape[1] not in channels:
            shape = f"its ecl_pulses have shape {list(pulses.shape)}"
            raise UnreadableError(f"{shape}, and not [steps, {channels[0]}]")
    return DualThreshold(theta, negative_threshold=lower, initial_membrane=start, init_hidden=True)


_NEEDED = ("ecl_reset", "ecl_negative_threshold", "ecl_start", "ecl_levels")
_FIXED = {
    "ecl_version": VERSION, "ecl_reset": "subtract", "ecl_fires_at": ">=", "ecl_lowest_count": 0,
}  # fmt: skip


def _linear(node: Any) -> nn.Module:
    """A linear layer."""
    weight = _weight(node, 2)
    outputs, inputs = weight.shape
    return _weighted(nn.Linear(inputs, outputs, hasattr(node, "bias")), weight, node)


def _convolution(nir: ModuleType, node: Any) -> nn.Module:
    """A convolution of one or two dimensions."""
    dims = 2 if isinstance(node, nir.Conv2d) else 1
    weight = _weight(node, 2 + dims)
    outputs, inputs, *size = weight.shape
    kind: Any = nn.Conv2d if dims == 2 else nn.Conv1d
    padding = plain(node.padding)
    try:
        layer = kind(
            inputs * int(node.groups),
            outputs,
            tuple(size),
            stride=_ints(node.stride),
            padding=padding if isinstance(padding, str) else _ints(node.padding),
            dilation=_ints(node.dilation),
            groups=int(node.groups),
        )
    except ValueError as error:  # groups that do not divide, a word for the padding
        raise UnreadableError(str(error)) from error
    return _weighted(layer, weight, node)


def _weight(node: Any, ndim: int) -> Tensor:
    weight = numbers(node.weight, "weights")
    if weight.ndim != ndim:
        raise UnreadableError(
            f"its weights have shape {list(weight.shape)}, and not {ndim} dimensions"
        )
    return weight


def _weighted(layer: Any, weight: Tensor, node: Any) -> nn.Module:
    """The layer with a node's weights."""
    layer.weight = nn.Parameter(weight)
    if layer.bias is not None:
        bias = numbers(node.bias, "biases")
        if bias.shape != weight.shape[:1]:
            raise UnreadableError(
                f"its biases have shape {list(bias.shape)}, and its weights {list(weight.shape)}"
            )
        layer.bias = nn.Parameter(bias)
    assert isinstance(layer, nn.Module)
    return layer


def _number(value: Any, what: str) -> float:
    """A number of the metadata."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UnreadableError(f"its {what} is no number: {value!r:.60}")
    return float(value)


def numbers(value: Any, what: str) -> Tensor:
    """Numbers of a node in float32, whatever their type."""
    try:
        found = torch.tensor(np.asarray(value, dtype="f4"))
    except (TypeError, ValueError) as error:
        raise UnreadableError(f"its {what} are no numbers: {value!r:.60}") from error
    if not bool(found.isfinite().all()):
        raise UnreadableError(f"its {what} hold NaN or infinity")
    return found


def plain(value: Any) -> Any:
    """Metadata as it was before it went through a file."""
    if isinstance(value, (np.ndarray, np.generic)) and value.size == 1 and value.ndim < 2:
        value = value.item()
    return value.decode() if isinstance(value, bytes) else value


def _ints(value: Any) -> Any:
    """A setting of a layer, as torch takes it."""
    return tuple(map(int, value)) if np.ndim(value) else int(value)


def _by_channel(values: Any, what: str) -> Tensor:
    """One value of a layer, or one for each channel."""
    found = numbers(values, what)
    if not found.numel():
        raise UnreadableError(f"its {what} are empty")
    if bool((found == found.flatten()[0]).all()):
        return found.flatten()[0]
    first = found.flatten(1)[:, 0] if found.ndim > 1 else found
    if found.ndim > 1 and bool((found.flatten(1) != first.unsqueeze(1)).any()):
        raise UnreadableError(f"its {what} differ within a channel")
    return first
