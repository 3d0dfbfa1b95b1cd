"""NIR's nodes for the calls of a converted graph; and why there are none for others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from ..functional._channels import over_channels
from ..graph._names import function_name
from ..nn import DualThreshold, SignedMaxPool
from ._nir_layers import VERSION, Threshold
from ._whole_facts import Facts, Norm

Shape = tuple[int, ...]


class NoNodeError(Exception):
    """Why a call has no node, and what to do."""

    def __init__(self, why: str, remedy: str = "") -> None:
        super().__init__(why)
        self.why, self.remedy = why, remedy or REMEDY


REMEDY = (
    "NIR describes convolutions, linear layers, average pooling over 2-D windows, flattening, "
    "sums, concatenations of channels and scales; to_integers and two_channels know more."
)
_POOLED = (
    "Use nn.AvgPool2d before training; or write what settle_then_fire makes of the network with "
    "unit_spikes=True: there, max-pooling is a SumPool2d and a Threshold."
)
_FLATTEN = ("flatten", "view", "reshape")


@dataclass(frozen=True)
class Maker:
    """Makes NIR's nodes.

    Attributes:
        nir: The package.
        facts: Of the graph.
        levels: L by neuron.
        settled: Whether neurons settle, then fire.
        unit_spikes: Whether spikes are whole numbers.
    """

    nir: ModuleType
    facts: Facts
    levels: Mapping[str, int | None]
    settled: bool
    unit_spikes: bool

    def chain(self, node: Node, shape: Shape, output: Shape) -> list[Any]:
        """The nodes for a call, one behind the other; :class:`NoNodeError` if there are none."""
        nir, module = self.nir, self.facts.module(node)
        if isinstance(module, DualThreshold):
            return [self.neuron(module, output, str(node.target))]
        if type(module) in (nn.Conv1d, nn.Conv2d):
            return [self.convolution(module, shape)]
        if type(module) is nn.Linear and len(shape) == 1:
            values = [array(parameter) for parameter in module.parameters()]
            return [(nir.Affine if len(values) == 2 else nir.Linear)(*values)]
        if (module is None and function_name(node) in _FLATTEN) or isinstance(module, nn.Flatten):
            if len(output) != 1:
                raise NoNodeError("NIR's Flatten is known to its readers for all dimensions only")
            return [self.flatten(shape)]
        if isinstance(module, (nn.MaxPool2d, SignedMaxPool)):
            return self.maximum(module, output)
        if isinstance(module, Threshold):
            return [nir.Threshold(array(module.threshold))]
        if self.facts.what(node) == "averages":
            return self.average(node, module, shape, output)
        factor = self.facts.factor(node)
        if factor is None:
            raise NoNodeError("NIR has no node for it")
        if isinstance(module, Norm):
            return [self.norm(*factor, shape)]
        return [nir.Scale(by_neuron(factor[0].float(), shape))]

    def neuron(self, neuron: DualThreshold, shape: Shape, name: str) -> Any:
        """An ``IF``, with what it leaves open in its metadata."""
        if neuron.spike_sizes != 1 or neuron.signed or type(neuron) is not DualThreshold:
            raise NoNodeError(
                "it is not the neuron of the paper",
                "Give the network that convert returned, with spike_sizes=1 and without signed "
                "clips, in floating point.",
            )
        theta = by_neuron(neuron._theta().detach(), shape)
        plain = neuron.negative_threshold == -math.inf
        metadata = {
            "ecl_version": VERSION,
            "ecl_reset": "subtract",
            "ecl_fires_at": ">=",
            "ecl_start": neuron.initial_membrane,
            "ecl_negative_threshold": neuron.negative_threshold,
            "ecl_spikes": np.array([0 if plain else -1, 1]),
            "ecl_lowest_count": 0,
            "ecl_levels": self.levels.get(name) or 0,
        }
        return self.nir.IF(np.ones_like(theta), theta, np.zeros_like(theta), metadata=metadata)

    def convolution(self, layer: Any, shape: Shape) -> Any:
        """A convolution; without a bias it gets zeros, and instead of groups weights of zero."""
        if layer.padding_mode != "zeros":
            mode = f"padding_mode={layer.padding_mode!r}"
            raise NoNodeError(mode, "NIR's convolutions pad with zeros.")
        bias = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias
        many = isinstance(layer, nn.Conv2d)
        kind, size = (self.nir.Conv2d, shape[1:]) if many else (self.nir.Conv1d, shape[1])

        def setting(value: Any) -> Any:
            return value if many or isinstance(value, str) else value[0]

        places = (setting(layer.stride), setting(layer.padding), setting(layer.dilation))
        return kind(size, _dense(array(layer.weight), layer.groups), *places, 1, array(bias))

    def norm(self, factor: Tensor, bias: Any, shape: Shape) -> Any:
        """A batch norm: one weight and one bias for each channel."""
        weight = array(factor.float())
        biases = array(torch.as_tensor(bias, dtype=factor.dtype).expand_as(factor).float())
        return self.channels(shape, np.diag(np.broadcast_to(weight, shape[:1])), biases)

    def part(self, shape: Shape, first: int, channels: int) -> Any:
        """One of the values that a concatenation joins, at its channels: weights of 0 and 1."""
        weight = np.eye(channels, shape[0], -first, dtype="f4")
        return self.channels(shape, weight, np.zeros(channels, "f4"))

    def channels(self, shape: Shape, weight: Any, bias: Any) -> Any:
        """Weights ``[outputs, inputs]`` that act on channels, at each place alike."""
        if len(shape) == 1:
            return self.nir.Affine(weight, bias)
        weight = weight.reshape(*weight.shape, *[1] * (len(shape) - 1))
        if len(shape) == 2:
            return self.nir.Conv1d(shape[1], weight, 1, 0, 1, 1, bias)
        return self.nir.Conv2d(shape[1:], weight, (1, 1), (0, 0), (1, 1), 1, bias)

    def flatten(self, shape: Shape) -> Any:
        """All dimensions in one."""
        return self.nir.Flatten({"input": np.array(shape)}, start_dim=0, end_dim=-1)

    def average(self, node: Node, module: Any, shape: Shape, output: Shape) -> list[Any]:
        """Average pooling over windows of equal size."""
        if type(module) is nn.AvgPool2d:
            usual = module.count_include_pad or module.padding in (0, (0, 0))
            if usual and not module.ceil_mode and not module.divisor_override:
                return [self.window("AvgPool2d", module)]
        elif type(module) is nn.AdaptiveAvgPool2d:
            size = [n // m for n, m in zip(shape[1:], output[1:], strict=True)]
            if [n * m for n, m in zip(size, output[1:], strict=True)] == list(shape[1:]):
                return [self.nir.AvgPool2d(np.array(size), np.array(size), np.array([0, 0]))]
        elif function_name(node) == "mean" and len(shape) == 3:
            dims = node.kwargs.get("dim", (*node.args, None, None)[1])
            if isinstance(dims, (tuple, list)) and {int(d) % 4 for d in dims} == {2, 3}:
                whole = np.array(shape[1:])
                pool = self.nir.AvgPool2d(whole, whole, np.array([0, 0]))
                return [pool] if len(output) == 3 else [pool, self.flatten((shape[0], 1, 1))]
        raise NoNodeError(
            "NIR averages over 2-D windows of one size only", "Use nn.AvgPool2d without ceil_mode."
        )

    def maximum(self, module: Any, output: Shape) -> list[Any]:
        """Max-pooling of spikes that are nested: whether any of a window's neurons fires."""
        if not self.settled or isinstance(module, SignedMaxPool):
            raise NoNodeError("NIR has no node for the maximum of signed spikes", _POOLED)
        if not self.unit_spikes or module.ceil_mode or module.dilation not in (1, (1, 1)):
            raise NoNodeError(
                "it is the maximum of spikes that are worth θ, or has ceil_mode or dilation",
                "Convert with unit_spikes=True, and use nn.MaxPool2d without these.",
            )
        half = self.nir.Threshold(np.full(output, 0.5, "f4"))
        return [self.window("SumPool2d", module), half]

    def window(self, kind: str, pool: Any) -> Any:
        """A pool of NIR with the windows of one of torch."""
        sizes = (pool.kernel_size, pool.stride, pool.padding)
        return getattr(self.nir, kind)(*(np.array(_pair(size)) for size in sizes))


def _dense(weight: Any, groups: int) -> Any:
    """Weights without groups: nir 1.0.8 takes those of one group for all input channels."""
    outputs, inputs = len(weight) // groups, weight.shape[1]
    dense = np.zeros((len(weight), inputs * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        dense[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return dense


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def array(value: Tensor) -> Any:
    """A tensor for NIR."""
    return value.detach().cpu().numpy()


def by_neuron(value: Tensor, shape: Shape) -> Any:
    """A value ``[]`` or ``[C]`` for each neuron of a layer."""
    spread = over_channels(value.cpu(), torch.empty(1, *shape))
    return np.ascontiguousarray(spread.expand(1, *shape)[0].numpy())
