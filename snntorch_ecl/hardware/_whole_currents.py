"""Rebuild currents so that they are sums of whole numbers.

A *whole* value is one of the new graph that holds whole numbers: quantised inputs, spikes, and
what is moved, pooled or joined from these. All between them is a *current*: a sum of weighted
whole values. A current is rebuilt for whoever reads it, in the unit that the reader needs: that
of a neuron is θ/2^k, by channel. So a shortcut becomes a layer of whole weights, and streams with
different θ are joined as they are.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from ..errors import ConfigError
from ..graph._names import function_name
from ..graph._values import is_size
from ..nn import DualThreshold, Scale, SignedMaxPool, StepBias
from ._weights import bias_of, by_output, fits_inputs, times_inputs, times_outputs
from ._whole_facts import Facts
from ._whole_layers import EXACT, ChannelWeights, Shift
from ._whole_values import PARALLEL, Options, Survey, Whole, parallel


class Builder:
    """The new graph, and what it takes over from the old one."""

    def __init__(self, net: GraphModule) -> None:
        self.facts = Facts(net)
        self.graph = Graph()
        self.modules: dict[str, nn.Module] = {}
        self.others: dict[Node, Node] = {}  # inputs, time and sizes
        for node in (*self.facts.inputs, *self.facts.time):
            self.others[node] = self.graph.node_copy(node)

    def whole(self, node: Node) -> Whole:
        """A value as whole numbers."""
        raise NotImplementedError

    def call(self, wanted: str, module: nn.Module, *args: Any, **kwargs: Any) -> Node:
        """Add a module under a name that is free, and call it."""
        name, count = wanted, 0
        while name in self.modules:
            count += 1
            name = f"{wanted}_{count}"
        self.modules[name] = module.to(torch.float64).eval()
        return self.graph.call_module(name, args, kwargs)

    def copied(self, node: Node, value: Callable[[Node], Node]) -> Node:
        """The same call in the new graph."""
        live = self.facts.live
        new = self.graph.node_copy(node, lambda n: value(n) if n in live else self.other(n))
        module = self.facts.module(node)
        if module is None:
            return new
        args, kwargs = new.args, new.kwargs
        self.graph.erase_node(new)
        return self.call(str(node.target), copy.deepcopy(module), *args, **kwargs)

    def other(self, node: Node) -> Node:
        """A size or time in the new graph."""
        if node not in self.others:
            if not is_size(node):
                raise self.facts.refusal(node, "it is a constant", "Make it the bias of a layer.")
            live = self.facts.live
            self.others[node] = self.graph.node_copy(
                node, lambda n: self.whole(n).node if n in live else self.other(n)
            )
        return self.others[node]

    def times(self, node: Node) -> dict[str, Any]:
        """The arguments of time that a layer with state takes."""
        return {key: map_arg(value, self.other) for key, value in node.kwargs.items()}


class Currents(Builder):
    """Currents, in the unit of who reads them."""

    def __init__(self, net: GraphModule, options: Options) -> None:
        super().__init__(net)
        self.options = options

    def is_whole(self, node: Node) -> bool:
        """Whether a value holds whole numbers by itself."""
        module = self.facts.module(node)
        if node in self.facts.inputs or isinstance(module, DualThreshold):
            return True
        moves = isinstance(module, Scale) or self.facts.what(node) is not None
        return moves and all(map(self.is_whole, self.facts.sources(node)))

    def survey(self, node: Node, thresholds: int = 1) -> Survey:
        """What a current is made of; ``thresholds``: θ by channel, or one."""
        facts, module = self.facts, self.facts.module(node)
        if self.is_whole(node):
            return self.whole(node).survey()
        if facts.has_weights(node):
            return self.survey_weights(node, thresholds)
        if isinstance(module, StepBias):
            inner = self.survey(facts.only(node), thresholds)
            bias = module.bias.detach().double().abs().amax(0).cpu()
            return replace(inner, reach=inner.reach + bias)
        factor = facts.factor(node)
        if factor is not None:
            inner = self.survey(facts.only(node), thresholds).times(factor[0])
            return (
                inner if factor[1] is None else replace(inner, reach=inner.reach + factor[1].abs())
            )
        if facts.adds(node):
            first, second = (self.survey(n, thresholds) for n in self.terms(node))
            return first.plus(second)
        if facts.what(node) == "keeps" and facts.passes(node):
            return self.survey(facts.only(node), thresholds)
        return self.known(node).survey()

    def survey_weights(self, node: Node, thresholds: int) -> Survey:
        """The survey of a linear layer or a convolution."""
        layer, source = self.read(node)
        weights = by_output(layer, times_inputs(layer, source.unit).cpu()).abs()
        largest, reach = weights.amax(1), weights.sum(1) * source.bound + bias_of(layer).abs()
        known = self.facts.ndim(node) == 2 or thresholds == len(reach)
        if isinstance(layer, nn.Linear) and not known:  # its outputs may be no channels
            largest, reach = largest.max(), reach.max()
        zero = torch.zeros_like(largest)
        return Survey(*((zero, largest) if source.wide else (largest, zero)), reach)

    def current(self, node: Node, unit: Tensor) -> tuple[Node, Tensor]:
        """A current in a unit ``[]`` or ``[C]``: its node, and its largest magnitude."""
        facts, module = self.facts, self.facts.module(node)
        if self.is_whole(node):
            return self.weighed(self.whole(node), unit)
        if facts.has_weights(node):
            return self.weights(node, unit)
        if isinstance(module, StepBias):
            inner, bound = self.current(facts.only(node), unit)
            bias = (module.bias.detach().double().cpu() / unit).round()
            new = self.call(str(node.target), StepBias(bias), inner, **self.times(node))
            return new, bound + bias.abs().amax(0)
        factor = facts.factor(node)
        if factor is not None:
            return self.factored(node, *factor, unit)
        if facts.adds(node):
            (first, bound), (second, more) = (self.current(n, unit) for n in self.terms(node))
            add = operator.add if function_name(node) == "add" else operator.sub
            return self.graph.call_function(add, (first, second)), bound + more
        if facts.what(node) == "keeps" and facts.passes(node):
            if isinstance(module, SignedMaxPool) and bool((unit < 0).any()):
                remedy = "Fold the batch norm behind it into a convolution."
                raise facts.refusal(node, "a negative factor follows", remedy)
            inner, bound = self.current(facts.only(node), unit)
            return self.copied(node, lambda _: inner), bound
        return self.weighed(self.known(node), unit)

    def weighed(self, source: Whole, unit: Tensor) -> tuple[Node, Tensor]:
        """A whole value as a current: one weight for each channel, or several that add up."""
        exact, name = source.unit / unit, f"{source.node.name}_weight"
        shift = self.shift(name, exact if source.wide else exact / PARALLEL, source)
        weight = (exact * 2.0**shift).round()
        rows = parallel(weight, self.options.largest_weight)
        new = self.call(name, ChannelWeights(rows), source.node)
        return self.shifted(new, weight.abs() * source.bound, shift, source)

    def weights(self, node: Node, unit: Tensor) -> tuple[Node, Tensor]:
        """A layer with whole weights and biases."""
        layer, source = self.read(node)
        exact = times_outputs(layer, times_inputs(layer, source.unit).cpu(), 1 / unit)
        largest = by_output(layer, exact).abs().amax(1)
        shift = self.shift(str(node.target), largest if unit.ndim else largest.max(), source)
        whole = times_outputs(layer, exact, 2.0**shift).round()
        bias = (bias_of(layer) / unit * 2.0**shift).round()
        new = copy.deepcopy(layer)
        new.weight = nn.Parameter(whole, requires_grad=False)
        if layer.bias is not None:
            new.bias = nn.Parameter(bias, requires_grad=False)
        built = self.call(str(node.target), new, source.node)
        bound = by_output(layer, whole).abs().sum(1) * source.bound + bias.abs()
        return self.shifted(built, bound if unit.ndim else bound.max(), shift, source)

    def factored(
        self, node: Node, weight: Tensor, bias: Tensor | None, unit: Tensor
    ) -> tuple[Node, Tensor]:
        """A factor by channel goes into the unit; a bias stays."""
        inner, bound = self.current(self.facts.only(node), unit / weight.where(weight != 0, 1e-30))
        if bias is None:
            return inner, bound
        whole = (bias / unit).round()
        layer = ChannelWeights(torch.ones_like(whole), whole)
        return self.call(str(node.target), layer, inner), bound + whole.abs()

    def shift(self, name: str, largest: Tensor, source: Whole) -> Tensor:
        """By how much products of wide values are divided, so that weights use all their bits."""
        limit = self.options.largest_weight + 0.49
        largest = largest.abs()
        room = (limit / largest.clamp_min(2.0**-60)).log2().floor()
        if self.options.checked and bool((largest > limit).any()):
            raise ConfigError(
                f"{name}: its largest weight would be {float(largest.max()):.4g}, and with "
                f"weight_bits={self.options.weight_bits} they end at "
                f"{self.options.largest_weight}. Give more weight_bits"
            )
        return room.clamp(0, 40) if source.wide else torch.zeros_like(largest)

    def shifted(
        self, node: Node, bound: Tensor, shift: Tensor, source: Whole
    ) -> tuple[Node, Tensor]:
        """Divide the sum of products of wide values."""
        if self.options.checked and float(bound.max()) > EXACT:
            raise ConfigError(
                f"{node.target}: its sums could reach {float(bound.max()):.4g}, beyond 2^52; give "
                "fewer weight_bits or input_bits"
            )
        if not source.wide:
            return node, bound
        return self.call(f"{node.name}_shift", Shift(shift), node), bound / 2.0**shift + 1

    def read(self, node: Node) -> tuple[nn.Module, Whole]:
        """A layer with weights, and the whole value that it reads."""
        layer, source = self.facts.module(node), self.facts.only(node)
        assert layer is not None
        whole = self.whole(source)
        if not fits_inputs(layer, whole.unit, flat=self.facts.flat(source)):
            why = f"{whole.unit.numel()} channels of different θ are another dimension of its input"
            raise self.facts.refusal(node, why, "Use one θ for the layer before it.")
        return layer, whole

    def terms(self, node: Node) -> list[Node]:
        """The two values that an addition adds."""
        found = [a for a in node.args if isinstance(a, Node) and a in self.facts.live]
        if len(found) != 2:
            raise self.facts.refusal(node, "it adds a constant", "Make it the bias of a layer.")
        return found

    def known(self, node: Node) -> Whole:
        """A moved, averaged or joined current, in a unit of its own."""
        if self.facts.what(node) is None:
            raise self.facts.refusal(
                node,
                "it is not known to compute with whole numbers",
                "Known are linear layers, convolutions, batch norms, pooling, sums, and what moves "
                "values. ecl.register(MyLayer, like=torch.nn.Conv2d)(ecl.keep) makes yours known.",
            )
        return self.whole(node)
