"""``levelled``: each layer shows its own number of levels at one T."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .._util.checks import check_num_steps, check_whole_numbers
from .._util.devices import device_of
from .._util.levels import Levels, check_levels_by_name, levels_by_name
from ..conversion._load import LOWERINGS
from ..conversion._unit_spikes import _ScaleMover
from ..errors import ConfigError, UnsupportedError
from ..graph._registry import LayerKind, add
from ..graph._trace import finish
from ..network import SpikingNetwork
from ..network._check_spiking import check_spiking
from ..network._layer import Layer
from ..nn import DualThreshold
from ._lowered import LoweredNetwork

KIND = "levelled"


class LevelledNeuron(DualThreshold):
    """A dual-threshold neuron whose net count of spikes has an upper bound.

    Args:
        threshold: θ > 0, ``[]`` or ``[C]``.
        most_spikes: L ≥ 1; at a net count of L it is silent until it has taken a spike back.
        settings: As for :class:`~snntorch_ecl.DualThreshold`.

    Example:
        >>> neuron = LevelledNeuron(1.0, most_spikes=2, init_hidden=True)
        >>> neuron(torch.ones(4, 1), num_steps=4).tolist()
        [[1.0], [1.0], [0.0], [0.0]]
    """

    def __init__(self, threshold: float | Tensor, *, most_spikes: int, **settings: Any) -> None:
        check_whole_numbers("most_spikes", (most_spikes,), lowest=1)
        super().__init__(threshold, **settings)
        self.most_spikes = most_spikes

    def extra_repr(self) -> str:
        return f"most_spikes={self.most_spikes}, {super().extra_repr()}"


add(LevelledNeuron, kind=LayerKind(cost="neurons", keeps_dims=True, stateful=True))


def levelled(snn: SpikingNetwork, *, num_steps: int, levels: Levels = None) -> SpikingNetwork:
    r"""Let each layer show its own L levels, and no more, in a run of T steps.

    ``convert`` gives every neuron θ = λ: whatever L its clip had, it shows T levels in T steps,
    and with the same weights its spikes do not depend on L. Here a layer with L < T levels gets

    .. math:: θ = λ·T/L, \qquad n ≤ L,

    with v(0) = θ/2 as before. For a constant input z, n becomes
    :math:`\mathrm{clip}(⌊z·T/θ + 1/2⌋, 0, L) = \mathrm{clip}(⌊z·L/λ + 1/2⌋, 0, L)`, and the mean
    output θ·n/T is what a ``ThresholdClip`` with L levels returns, at any T ≥ L. So fewer levels
    are fewer and larger spikes. Layers with L ≥ T keep θ = λ: T steps have no more levels.

    Without the bound a coarse neuron would answer to a current above λ by up to T/L times λ.

    Args:
        snn: What ``convert`` returned. It is copied, not changed.
        num_steps: T. The network runs at this T only.
        levels: L of all layers, or by name and pattern as for :func:`~snntorch_ecl.prepare`; None,
            and layers that no key names: what each was trained with, T where that is None.

    Returns:
        The network, which ``evaluate``, ``energy``, ``save`` and ``load`` take.

    Raises:
        ConfigError: L < 1 or T < 1; or a key of ``levels`` matches no layer; or the network is
            lowered already.
        UnsupportedError: Neurons with spikes of several sizes.

    Example:
        >>> from torch import nn
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> ann = nn.Sequential(ThresholdClip(2, 1.0), nn.Linear(8, 3))
        >>> snn, images = convert(ann), torch.rand(5, 8)
        >>> torch.allclose(levelled(snn, num_steps=6)(images), ann(images), atol=1e-6)
        True
        >>> torch.allclose(snn(images, num_steps=6), ann(images), atol=1e-6)  # it shows 6 levels
        False
    """
    check_spiking(snn)
    check_num_steps(num_steps)
    check_levels_by_name(levels)
    if isinstance(snn, LoweredNetwork):
        raise ConfigError("this network is lowered already; give the one that convert returned")
    refused = [
        f"{name} (DualThreshold): its spikes have several sizes"
        for name, neuron in snn.neurons.items()
        if neuron.spike_sizes != 1
    ]
    if refused:
        raise UnsupportedError(refused, "Convert with spike_sizes=1.")
    return _levelled(snn, num_steps, levels_at(snn, num_steps, levels))


def levels_at(snn: SpikingNetwork, num_steps: int, levels: Levels) -> dict[str, int]:
    """The levels that each layer shows at T: at most T."""
    known = {layer.name: layer.levels for layer in snn.layers}
    if isinstance(levels, Mapping):
        known = levels_by_name(levels, known, known)
    elif levels is not None:
        known = dict.fromkeys(known, levels)
    return {name: min(known[name] or num_steps, num_steps) for name in snn.neurons}


def _levelled(snn: SpikingNetwork, num_steps: int, levels: Mapping[str, int]) -> SpikingNetwork:
    """The network with these levels, on the source's device."""
    net = copy.deepcopy(snn.net)
    mover = _ScaleMover(net)
    for node in list(net.graph.nodes):
        name = str(node.target)
        if node.op != "call_module" or levels.get(name, num_steps) == num_steps:
            continue
        old, larger = net.get_submodule(name), num_steps / levels[name]
        assert isinstance(old, DualThreshold)
        factor = old.graded_spikes_factor.detach()
        if snn.unit_spikes:
            mover.scale_readers(node, torch.full_like(factor, larger))
        else:
            factor = factor * larger
        new = LevelledNeuron(
            old.threshold.detach() * larger,
            most_spikes=levels[name],
            graded_spikes_factor=factor,
            spike_grad=old.spike_grad,
            init_hidden=True,
            **old.settings(),
        )
        new.qualified_name = name
        net.add_submodule(name, new.train(snn.training))
    lowering = {"kind": KIND, "num_steps": num_steps, "levels": dict(levels)}
    lowered = LoweredNetwork(finish(net), snn, lowering, latency=num_steps)
    lowered.layers = tuple(Layer(la.name, levels.get(la.name, la.levels)) for la in snn.layers)
    return lowered.to(device_of(snn)).train(snn.training)


def _rebuilt(snn: SpikingNetwork, settings: Mapping[str, Any]) -> SpikingNetwork:
    """The network that a file's tensors fit into."""
    return _levelled(snn, settings["num_steps"], settings["levels"])


LOWERINGS[KIND] = _rebuilt
