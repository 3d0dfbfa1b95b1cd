"""``settle_then_fire``: plain neurons that equal the quantised ANN; why: docs/howto/chips.md."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from .._util.checks import check_num_steps
from .._util.devices import device_of
from ..conversion._load import LOWERINGS
from ..errors import ConfigError, UnsupportedError
from ..graph._names import call_of, function_name, unique_name
from ..graph._trace import finish
from ..network import SpikingNetwork
from ..network._check_spiking import check_spiking
from ..nn import DualThreshold, Scale, SignedMaxPool
from ..nn._stepwise import Hold
from ._clock import Shown, Window
from ._lowered import LoweredNetwork
from ._pulses import Pulses, hold_down
from ._whole_facts import Facts

KIND = "settle then fire"


def settle_then_fire(
    snn: SpikingNetwork,
    data: Iterable[Any],
    *,
    num_steps: int,
    margin: float = 2.0,
    key: str | None = None,
) -> SpikingNetwork:
    """Replace dual-threshold neurons by plain ones that wait until their input is complete.

    For chips whose neurons integrate, fire at θ, reset by subtraction, and can do no more. Clock
    pulses, the same for every image, hold each layer down while the layers before it fire (start:
    −K), let it fire for T steps (release: +K), and silence it (close: −K). A neuron of depth d
    fires in steps d·T + 1 to (d + 1)·T; a run takes (depth + 1)·T steps.

    Equal to the quantised ANN: each neuron fires n = clip(⌊z·T/θ + 1/2⌋, 0, T) times, in the
    first n steps of its window, so that θ·n/T is what a ``ThresholdClip`` with ``levels=T``
    returns, in all layers, and the outputs are the ANN's. Exact where sums are, as with the whole
    numbers of :func:`to_integers`, which takes this network; in floating point up to the rounding
    of sums.

    Args:
        snn: What ``convert`` returned. It is copied, not changed; θ′ is dropped.
        data: Batches of images like those it will see. K is ``margin`` times the largest membrane
            on them, as the next power of two.
        num_steps: T: how often a neuron can fire, and the levels of the ANN that it equals.
        margin: How much larger than on the data a membrane may become. A run in which one becomes
            so large that its neuron fires too early is an error.
        key: Name of the input in batches that are dicts.

    Returns:
        The network. Its ``latency`` is the number of steps of a run, which ``evaluate`` and
        ``energy`` must be given as ``num_steps``. ``save`` and ``load`` work.

    Raises:
        UnsupportedError: What lies between neurons is no sum of weights, such as max-pooling of
            what are no spikes; all such places are listed.
        ConfigError: num_steps < 1, margin < 1, or a network that is lowered already.
        DataError: There is no data.

    Example:
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> images = torch.rand(3, 8)
        >>> chip = settle_then_fire(convert(ann), [images], num_steps=4)
        >>> chip.latency  # it settles in 4 steps, and fires in 4
        8
        >>> torch.allclose(chip(images), ann(images), atol=1e-6)
        True
    """
    check_num_steps(num_steps)
    check_spiking(snn)
    if not (isinstance(margin, (int, float)) and math.isfinite(margin) and margin >= 1):
        raise ConfigError(f"margin must be a finite number >= 1; got {margin!r}")
    if isinstance(snn, LoweredNetwork):
        raise ConfigError("this network is lowered already; give the one that convert returned")
    chip = _lowered(snn, num_steps)
    hold_down(chip, data, margin, key)
    return chip


def _lowered(snn: SpikingNetwork, num_steps: int) -> LoweredNetwork:
    """The network with pulses of size 0, on the source's device."""
    rewriter = _Rewriter(copy.deepcopy(snn.net).eval(), num_steps)
    net = rewriter.rewritten()
    lowering = {"kind": KIND, "num_steps": num_steps}
    latency = (rewriter.deepest + 1) * num_steps
    return LoweredNetwork(net, snn, lowering, latency=latency).to(device_of(snn)).eval()


def _rebuilt(snn: SpikingNetwork, settings: Mapping[str, Any]) -> SpikingNetwork:
    """The network that a file's tensors fit into."""
    return _lowered(snn, settings["num_steps"])


LOWERINGS[KIND] = _rebuilt


class _Rewriter:
    """Makes the neurons of a graph plain, and puts pulses before them."""

    def __init__(self, net: GraphModule, num_steps: int) -> None:
        self.net, self.facts, self.num_steps = net, Facts(net), num_steps
        self.depth: dict[Node, int] = {}  # of the deepest neuron that a timed value depends on
        self.constants: dict[Node, Tensor] = {}  # what layers add to it at each step, by channel
        self.spikes: set[Node] = set()
        self.refused: list[str] = []

    @property
    def deepest(self) -> int:
        """The largest depth of a neuron."""
        return max(self.depth.values(), default=0)

    def rewritten(self) -> GraphModule:
        """The graph for plain neurons."""
        for node in list(self.net.graph.nodes):
            module = self.facts.module(node)
            behind = [n for n in node.all_input_nodes if n in self.depth]
            if isinstance(module, DualThreshold):
                self.neuron(node, module)
            elif isinstance(module, Hold):
                shown = self.shown(node)
                node.replace_all_uses_with(shown, lambda user, shown=shown: user is not shown)
            elif node.op == "output":
                self.outputs(node, behind)
            elif behind and node in self.facts.live:
                self.timed(node, max(self.depth[n] for n in behind))
                self.between(node, behind)
        if self.refused:
            raise UnsupportedError(
                self.refused,
                "Between plain neurons there can be linear layers, convolutions, pooling, sums and "
                "what moves values. Put max-pooling behind the activation.",
            )
        self.net.graph.eliminate_dead_code()
        self.net.delete_all_unused_submodules()
        return finish(self.net)

    def timed(self, node: Node, depth: int, constant: Tensor | None = None) -> None:
        """Note a value that changes over time."""
        self.depth[node] = depth
        self.constants[node] = torch.zeros(()) if constant is None else constant

    def neuron(self, node: Node, module: DualThreshold) -> None:
        """A plain neuron, with clock pulses before it and a window behind it."""
        source = node.args[0]
        assert isinstance(source, Node)
        if module.spike_sizes != 1 or getattr(module, "signed", False):
            self.refuse(node, "its spikes have several sizes, or stand for signed values")
        module.negative_threshold, module.initial_membrane = -math.inf, 0.5
        if source not in self.depth:
            source = self.shown(source, held=self.facts.time[1])
        depth, name, constant = self.depth[source] + 1, str(node.target), self.constants[source]
        first = depth * self.num_steps
        bias = torch.zeros(first + self.num_steps + 2, max(1, constant.numel()))
        bias[0] = self.num_steps * constant
        flat = self.facts.ndim(node) is None and constant.numel() > 1
        pulses = Pulses(bias, first, name, flat=flat)
        node.args = (self.call(f"{name}_pulses", pulses, source), *node.args[1:])
        node.kwargs = self.times
        window = self.call(f"{name}_window", Window(first, self.num_steps, name), node)
        node.replace_all_uses_with(window, lambda user: user is not window)
        for value in (node, window):
            self.timed(value, depth)
            self.spikes.add(value)

    def between(self, node: Node, behind: list[Node]) -> None:
        """Take biases out of what lies between neurons: pulses bring them, T at once."""
        facts, module = self.facts, self.facts.module(node)
        factor = facts.factor(node)
        if facts.adds(node):
            self.add(node, behind)
        elif factor is not None:
            self.multiply(node, behind[0], factor)
        elif isinstance(module, SignedMaxPool):
            self.pool(node, module, spikes=behind[0] in self.spikes)
        elif facts.has_weights(node) or facts.what(node) is not None:
            for source in behind:
                node.replace_input_with(source, self.with_bias(source))
            if isinstance(module, nn.Linear) and facts.ndim(node) not in (2, None):
                self.refuse(node, "its features are not the channels of its input")
            elif facts.has_weights(node):
                self.unbias(node)
            elif facts.what(node) != "averages" and {*behind} <= self.spikes:
                self.spikes.add(node)
        else:
            self.refuse(node, "it is no sum of weights")

    def add(self, node: Node, behind: list[Node]) -> None:
        """Add constants, and numbers that the code adds."""
        sign = -1 if function_name(node) == "sub" else 1
        total = torch.zeros(())
        for place, term in enumerate(node.args[:2]):
            factor = sign if place else 1
            if term in behind:
                total = total + factor * self.constants[term]  # type: ignore[index]
            elif isinstance(term, (int, float)):
                total = total + factor * term
                node.update_arg(place, 0)
            else:
                self.refuse(node, "it adds a tensor that no layer computes")
        self.constants[node] = total

    def multiply(self, node: Node, source: Node, factor: tuple[Tensor, Tensor | None]) -> None:
        """Multiply constants; of a batch norm only the factor stays."""
        weight, bias = (None if f is None else f.float() for f in factor)
        assert weight is not None
        self.constants[node] = weight * self.constants[source] + (0 if bias is None else bias)
        if bias is not None:
            self.use(node, Scale(weight))

    def with_bias(self, source: Node) -> Node:
        """A value to which the biases before it were added, T times at the first step."""
        constant = self.num_steps * self.constants[source].flatten()
        if not bool(constant.any()):
            return source
        bias = torch.stack([constant, torch.zeros_like(constant)])
        flat = self.facts.ndim(source) is None and constant.numel() > 1
        pulses = Pulses(bias, neuron=call_of(source, self.facts.module(source)), flat=flat)
        return self.call(f"{source.name}_pulses", pulses, source)

    def unbias(self, node: Node) -> None:
        """Take a layer's bias; where the layer is called twice, the other call may need it."""
        layer = copy.deepcopy(self.facts.module(node))
        assert layer is not None
        if isinstance(layer.bias, Tensor):
            self.constants[node] = layer.bias.detach().float()
            layer.register_parameter("bias", None)
            self.use(node, layer)

    def use(self, node: Node, module: nn.Module) -> None:
        """Put a module in the place of the one that a call calls; a shared one stays for others."""
        name = str(node.target)
        calls = [n for n in self.net.graph.nodes if n.op == "call_module" and n.target == name]
        node.target = name if len(calls) == 1 else unique_name(self.net, f"{name}_{node.name}")
        self.net.add_submodule(node.target, module.eval())

    def pool(self, node: Node, module: SignedMaxPool, *, spikes: bool) -> None:
        """Neurons of one layer begin to fire together: the maximum is whether any of them fires."""
        if not spikes:
            self.refuse(node, "it takes the maximum of what are no spikes")
            return
        self.use(node, module.pool)
        node.kwargs = {}
        self.spikes.add(node)

    def outputs(self, node: Node, behind: list[Node]) -> None:
        """Make the mean over the run that over T steps: weights times depth + 1."""
        for source in behind:
            layer, gain = self.facts.module(source), self.deepest + 1.0
            if self.facts.has_weights(source) and len(source.users) == 1 and layer is not None:
                twin = copy.deepcopy(layer)
                assert isinstance(twin.weight, Tensor)
                twin.weight = nn.Parameter(twin.weight.detach() * gain, requires_grad=False)
                if self.constants[source].ndim:
                    twin.bias = nn.Parameter(self.constants[source].to(twin.weight))
                self.use(source, twin)
                continue
            scale = Scale(torch.tensor(gain))
            mean = self.call(f"{source.name}_mean", scale, self.with_bias(source), timed=False)
            node.replace_input_with(source, mean)

    def shown(self, value: Node, *, held: Any = 1) -> Node:
        """Show a constant of the network's stem for T steps; a bias before it comes by pulses."""
        if self.facts.has_weights(value) and len(value.users) == 1:
            self.unbias(value)
        shown = self.call(f"{value.name}_shown", Shown(self.num_steps), value, held=held)
        self.timed(shown, 0, self.constants.get(value))
        return shown

    @property
    def times(self) -> dict[str, Any]:
        """The arguments of time of a layer that reads ``[T·B, ...]``."""
        return {"num_steps": self.facts.time[0], "held": 1}

    def call(
        self, wanted: str, module: nn.Module, value: Node, *, timed: bool = True, held: Any = 1
    ) -> Node:
        """Call a module on a value, for all who read that."""
        name = unique_name(self.net, wanted)
        self.net.add_submodule(name, module.eval())
        times = {**self.times, "held": held} if timed else {}
        behind = self.facts.time[1] if value.op == "placeholder" else value
        with self.net.graph.inserting_after(behind):
            return self.net.graph.call_module(name, (value,), times)

    def refuse(self, node: Node, why: str) -> None:
        """Remember a call that cannot be lowered."""
        self.refused += self.facts.refusal(node, why, "").sites
