"""``two_channels``: no event below zero; each neuron has a line for + and one for −."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from .._util.devices import device_of
from .._util.torch_internals import TransposedConvolution
from ..conversion._load import LOWERINGS
from ..errors import UnsupportedError
from ..graph._names import unique_name
from ..graph._ndims import flattens
from ..graph._trace import finish
from ..network import SpikingNetwork
from ..network._check_spiking import check_spiking
from ..nn import Difference, DualThreshold, Scale, SignedMaxPool, StepBias
from ._lines import EventLines, GroupLines, JoinLines, LineSum
from ._lowered import LoweredNetwork
from ._whole_facts import Facts, Norm
from ._whole_layers import ChannelWeights, FixedPoint

KIND = "two channels"


def two_channels(snn: SpikingNetwork) -> SpikingNetwork:
    """Give each neuron two event lines, + and −, for chips without negative spikes.

    A neuron sends an event on its + line where it fires, and on its − line where it takes a spike
    back; no event is below zero. The lines are channels 0 … C − 1 and C … 2C − 1. Whatever reads
    them has the weights W for + and −W for −. Max-pooling (and, with whole numbers, an average)
    is a programmable unit of its own, with two lines as well. The chip's neurons must be
    programmable: threshold at θ and at θ′, and a count.

    Equal spike for spike: neuron by neuron and step by step the spikes are those of ``snn``, since
    W·s⁺ − W·s⁻ = W·(s⁺ − s⁻) = W·s. With whole numbers, ``two_channels(to_integers(snn))``, that
    holds bit for bit; in floating point up to the rounding of sums.

    Args:
        snn: What ``convert`` or ``to_integers`` returned. It is copied, not changed.

    Returns:
        The network, which ``evaluate``, ``energy``, ``save`` and ``load`` take. Its neurons have
        the same names; ``<name>_lines`` are their events.

    Raises:
        UnsupportedError: A layer reads spikes in a way that is not known to be a sum of weights,
            or computes in floating point between neurons; all are listed.

    Example:
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> snn = convert(ann, unit_spikes=True)
        >>> chip, images = two_channels(snn), torch.rand(3, 8)
        >>> chip.net.get_submodule("2").in_features  # 16 lines for +, 16 for −
        32
        >>> torch.allclose(chip(images, num_steps=4), snn(images, num_steps=4), atol=1e-6)
        True
    """
    check_spiking(snn)
    kind = type(snn) if isinstance(snn, LoweredNetwork) else LoweredNetwork
    net = _Rewriter(copy.deepcopy(snn.net)).rewritten()
    return kind(net, snn, {"kind": KIND}).to(device_of(snn)).train(snn.training)


def _rebuilt(snn: SpikingNetwork, settings: Mapping[str, Any]) -> SpikingNetwork:
    """The network that a file's tensors fit into."""
    return two_channels(snn)


LOWERINGS[KIND] = _rebuilt


class _Rewriter:
    """Puts lines behind everything that emits events, and opposite weights behind the lines."""

    def __init__(self, net: GraphModule) -> None:
        self.net, self.facts = net, Facts(net)
        self.events: set[Node] = set()  # values that are events, or events that were moved
        self.lines: dict[Node, Node] = {}  # a value's two lines
        self.sums: dict[Node, Node] = {}  # the sum of a value's two lines
        self.refused: list[str] = []
        calls = [str(n.target) for n in net.graph.nodes if n.op == "call_module"]
        self.shared = {name for name in calls if calls.count(name) > 1}

    def rewritten(self) -> GraphModule:
        """The graph with lines."""
        for node in list(self.net.graph.nodes):
            self.read(node, [n for n in node.all_input_nodes if n in self.events | {*self.lines}])
        if self.refused:
            raise UnsupportedError(
                self.refused,
                "Two event lines reach linear layers, convolutions, pooling, sums and "
                "concatenations. ecl.register(MyLayer, like=torch.nn.Conv2d)(ecl.keep) makes yours "
                "known; replace what computes in floating point.",
            )
        self.net.graph.eliminate_dead_code()
        self.net.delete_all_unused_submodules()
        return finish(self.net)

    def read(self, node: Node, values: list[Node]) -> None:
        """Change how a call reads events and sums of them."""
        facts, module = self.facts, self.facts.module(node)
        emits = isinstance(module, DualThreshold)
        if isinstance(module, Difference) and not isinstance(module, SignedMaxPool):
            self.refuse(node, "it computes in floating point")
        elif not values or not (node in facts.live or node.op == "output"):
            pass  # a size is that of the events themselves
        elif facts.has_weights(node):
            self.weigh(node, values[0])
        elif isinstance(module, (Scale, ChannelWeights)) and getattr(module, "bias", None) is None:
            self.use(node, LineSum(module.scale if isinstance(module, Scale) else module.weight))
            node.replace_input_with(values[0], self.lines_of(values[0]))
        elif self.moves(node) and {*values} <= self.events:
            emits = True
        elif facts.what(node) == "joins" and {*self.parts(node)} & {*self.lines}:
            self.join(node)
        elif self.passes(node) or (facts.adds(node) and len(values) == 2):
            for value in values:
                node.replace_input_with(value, self.lines_of(value))
            self.lines[node] = node
        elif self.takes_currents(node):
            for value in values:
                node.replace_input_with(value, self.sum_of(value))
            emits = emits or isinstance(module, (SignedMaxPool, FixedPoint))
        else:
            self.refuse(node, "it is not known what it makes of two lines")
        if emits:
            self.events.add(node)

    def moves(self, node: Node) -> bool:
        """Whether a call only moves values, or joins them."""
        does, module = self.facts.what(node), self.facts.module(node)
        return does == "joins" or (does == "keeps" and not isinstance(module, SignedMaxPool))

    def passes(self, node: Node) -> bool:
        """Whether a call treats channels, and so lines, one by one; max-pooling needs their sum."""
        module = self.facts.module(node)
        if flattens(self.net, node):
            return True
        layer = module is not None and not isinstance(module, SignedMaxPool)
        return layer and self.facts.what(node) is not None and self.facts.passes(node)

    def takes_currents(self, node: Node) -> bool:
        """Whether a call may read the sum of lines as a current."""
        units = (DualThreshold, SignedMaxPool, FixedPoint, StepBias, Norm, ChannelWeights)
        known = isinstance(self.facts.module(node), units) or node.op == "output"
        return known or self.facts.adds(node) or self.facts.factor(node) is not None

    def weigh(self, node: Node, value: Node) -> None:
        """Give a layer the weights W for + and −W for −."""
        layer, name = self.facts.module(node), str(node.target)
        assert layer is not None
        if isinstance(layer, nn.Linear) and self.facts.ndim(value) not in (2, None):
            self.refuse(node, "its features are not the channels that have lines")
            return
        lines = self.lines_of(value)
        groups = int(getattr(layer, "groups", 1))
        if groups > 1:
            with self.net.graph.inserting_before(node):
                lines = self.call(f"{name}_groups", GroupLines(groups), lines)
        self.use(node, opposed(layer))
        node.replace_input_with(value, lines)

    def parts(self, node: Node) -> list[Node]:
        """What a call joins along the channels."""
        along = node.kwargs.get("dim", (*node.args, 0)[1])
        return [*node.args[0]] if along == 1 else []  # type: ignore[misc]

    def join(self, node: Node) -> None:
        """Join lines; a value that is no event is split by its sign."""
        parts = [self.lines_of(part) for part in self.parts(node)]
        with self.net.graph.inserting_before(node):
            self.lines[node] = self.call(f"{node.name}_lines", JoinLines(), *parts)

    def lines_of(self, value: Node) -> Node:
        """The two lines of a value."""
        if value not in self.lines:
            lines = EventLines(flat=self.facts.ndim(value) is None)
            self.lines[value] = self.after(value, lines, "lines")
        return self.lines[value]

    def sum_of(self, value: Node) -> Node:
        """The sum of a value's two lines: a synapse of weight 1 and one of −1."""
        if value not in self.sums:
            dtype = next((p.dtype for p in self.net.parameters()), torch.float32)
            one = LineSum(torch.ones((), dtype=dtype))
            self.sums[value] = self.after(self.lines_of(value), one, "sum")
        return self.sums[value]

    def use(self, node: Node, module: nn.Module) -> None:
        """Put a module in the place of the one that a call calls; a shared one stays for others."""
        name = str(node.target)
        if name in self.shared:
            name = unique_name(self.net, f"{name}_lines")
        self.net.add_submodule(name, module.train(self.net.training))
        node.target = name

    def call(self, wanted: str, module: nn.Module, *args: Node) -> Node:
        """Add a module, and call it here."""
        name = unique_name(self.net, wanted)
        self.net.add_submodule(name, module.train(self.net.training))
        return self.net.graph.call_module(name, args)

    def after(self, node: Node, module: nn.Module, what: str) -> Node:
        """Call a module on a value, behind it."""
        start = str(node.target) if node.op == "call_module" else node.name
        with self.net.graph.inserting_after(node):
            return self.call(f"{start}_{what}", module, node)

    def refuse(self, node: Node, why: str) -> None:
        """Remember a call that cannot be lowered."""
        self.refused += self.facts.refusal(node, why, "").sites


def opposed(layer: nn.Module) -> nn.Module:
    """A copy of a layer with the weights W for the first half of its inputs and −W for the rest."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    twin = copy.deepcopy(layer)
    weight = weight.detach()
    if isinstance(layer, TransposedConvolution):  # [in, out / groups, ...]
        split = weight.view(layer.groups, -1, *weight.shape[1:])
        both = torch.cat([split, -split], 1).flatten(0, 1)
    else:
        both = torch.cat([weight, -weight], 1)
    twin.weight = nn.Parameter(both, requires_grad=False)
    name = "in_features" if isinstance(layer, nn.Linear) else "in_channels"
    setattr(twin, name, 2 * getattr(layer, name))
    return twin
