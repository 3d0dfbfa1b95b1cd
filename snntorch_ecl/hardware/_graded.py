"""``graded``: whole spikes of several levels in one step, for chips that have them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import functional as F
from .._util.checks import check_levels
from .._util.devices import device_of
from ..conversion._load import LOWERINGS
from ..conversion._unit_spikes import _ScaleMover
from ..errors import ConfigError, UnsupportedError
from ..functional._channels import over_channels
from ..functional._fused import Scanned
from ..graph._registry import LayerKind, add
from ..graph._trace import finish
from ..network import SpikingNetwork
from ..network._check_spiking import check_spiking
from ..nn import DualThreshold
from ..nn._state import state_for
from ._lowered import LoweredNetwork

KIND = "graded"


class GradedNeuron(DualThreshold):
    """A neuron that sends 0 to L units of θ/L in one step, and takes back what it sent too much.

    With u = θ/L and v(0) = u/2: v ← v + I; s = clip(⌊v/u⌋, −min(n, L), L); v ← v − u·s;
    n ← n + s. So the net count n is never below zero. With L = 1 it is the neuron of the paper
    with θ′ just below 0.

    Args:
        threshold: θ > 0, ``[]`` or ``[C]``.
        levels: L ≥ 1, the largest spike.
        graded_spikes_factor: What L units are worth in the output, ``[]`` or ``[C]``.

    Example:
        >>> neuron = GradedNeuron(1.0, levels=4, graded_spikes_factor=4.0)
        >>> neuron(torch.tensor([0.3, 0.6, 2.0])).tolist()
        [1.0, 2.0, 4.0]
        >>> neuron(torch.tensor([-0.3, -0.3, 0.0])).tolist()
        [-1.0, -1.0, 4.0]
    """

    def __init__(
        self, threshold: float | Tensor, *, levels: int, graded_spikes_factor: float | Tensor = 1.0
    ) -> None:
        check_levels(levels)
        super().__init__(
            threshold,
            surrogate_disable=True,
            init_hidden=True,
            graded_spikes_factor=graded_spikes_factor,
        )
        self.levels = levels

    def _advance(self, run: Any, current: Tensor, one_step: Tensor) -> Scanned:
        theta = over_channels(self._theta().detach(), one_step, self.qualified_name)
        factor = over_channels(self.graded_spikes_factor, one_step, self.qualified_name)
        kept, counted = self._state.get()
        state = state_for(one_step, kept, counted, self.qualified_name)
        mem, count = F.fresh_state(one_step) if state is None else state
        spikes = []
        for step in current.unsqueeze(0) if current is one_step else current:
            mem = mem + step
            # In the order of ThresholdClip: dividing by θ/L would round ties down.
            level = (mem * self.levels / theta + 0.5).floor()
            level = level.clamp(-self.levels, self.levels)
            level = torch.maximum(level, (-count).to(level.dtype))
            mem, count = mem - level / self.levels * theta, count + level.to(torch.int32)
            spikes.append((level / self.levels * factor).to(step.dtype))
        spk = spikes[0] if current is one_step else torch.stack(spikes)
        return Scanned(spk, F.State(mem, count), None)

    def extra_repr(self) -> str:
        return f"levels={self.levels}, {super().extra_repr()}"


add(GradedNeuron, kind=LayerKind(cost="neurons", keeps_dims=True, stateful=True))


def graded(snn: SpikingNetwork, *, levels: int | None = None) -> SpikingNetwork:
    """Let neurons send whole spikes of 0 to L units of θ/L, for chips with graded spikes.

    Equal to the quantised ANN at T = 1: neuron by neuron the spike is ⌊z·L/θ + 1/2⌋, clipped to
    0 … L, and the outputs are those of the ANN with ``levels=L``. Later steps take back what was
    too much, so T > 1 serves input that changes. A synapse multiplies its weight by the spike,
    which ``energy`` counts as a multiplication.

    Args:
        snn: What ``convert`` returned; with ``unit_spikes=True`` spikes are the whole numbers
            0 … L, and weights contain θ/L. It is copied, not changed.
        levels: L of all layers; None: what each layer was trained with.

    Returns:
        The network, which ``evaluate``, ``energy``, ``save`` and ``load`` take.

    Raises:
        ConfigError: L < 1, or the network is lowered already.
        UnsupportedError: Layers that were trained without levels, if none are given; or with
            spikes of several sizes.

    Example:
        >>> from torch import nn
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> chip, images = graded(convert(ann)), torch.rand(3, 8)
        >>> torch.allclose(chip(images, num_steps=1), ann(images), atol=1e-6)
        True
    """
    check_spiking(snn)
    check_levels(levels)
    if isinstance(snn, LoweredNetwork):
        raise ConfigError("this network is lowered already; give the one that convert returned")
    trained = {layer.name: layer.levels for layer in snn.layers}
    chosen = {name: levels or trained[name] for name in snn.neurons}
    refused = [f"{n} (DualThreshold): it has no levels" for n, count in chosen.items() if not count]
    refused += [
        f"{name} (DualThreshold): its spikes have several sizes, or stand for signed values"
        for name, neuron in snn.neurons.items()
        if neuron.spike_sizes != 1 or getattr(neuron, "signed", False)
    ]
    if refused:
        raise UnsupportedError(refused, "Say graded(snn, levels=L), and convert with one size.")
    return _graded(snn, {name: int(count or 0) for name, count in chosen.items()})


def _graded(snn: SpikingNetwork, levels: Mapping[str, int]) -> SpikingNetwork:
    """The network with these levels, on the source's device."""
    net = copy.deepcopy(snn.net)
    mover = _ScaleMover(net)
    for node in list(net.graph.nodes):
        name = str(node.target)
        if node.op != "call_module" or name not in levels:
            continue
        old = net.get_submodule(name)
        assert isinstance(old, DualThreshold)
        factor, count = old.graded_spikes_factor.detach(), levels[name]
        if snn.unit_spikes:
            mover.scale_readers(node, torch.full_like(factor, 1 / count))
            factor = factor * count
        new = GradedNeuron(old.threshold.detach(), levels=count, graded_spikes_factor=factor)
        new.qualified_name = name
        net.add_submodule(name, new.train(snn.training))
    lowering = {"kind": KIND, "levels": dict(levels)}
    return LoweredNetwork(finish(net), snn, lowering).to(device_of(snn)).train(snn.training)


def _rebuilt(snn: SpikingNetwork, settings: Mapping[str, Any]) -> SpikingNetwork:
    """The network that a file's tensors fit into."""
    return _graded(snn, settings["levels"])


LOWERINGS[KIND] = _rebuilt
