"""Rebuild a converted graph so that it computes with whole numbers: inputs, neurons, outputs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from ..errors import ConfigError
from ..graph._ndims import flattens
from ..nn import DualThreshold, Scale
from ._whole_currents import Currents
from ._whole_layers import ChannelWeights, FixedPoint, Readout, WholeNeuron
from ._whole_values import Options, Survey, Whole, largest_setting, uniform

AVERAGE_BITS = 8  # binary places of an average: those of 2, 4, … 256 spikes are exact
_LARGEST_K = 12  # θ is 4096 units where weights do not ask for fewer: finer makes no difference
_SMALLEST_K = 4


class WholeGraph(Currents):
    """A graph of whole numbers: inputs, neurons and outputs, and what moves values."""

    def __init__(self, net: GraphModule, options: Options) -> None:
        super().__init__(net, options)
        self.wholes: dict[Node, Whole] = {}

    def build(self) -> GraphModule:
        """The new graph, with the old one's names."""
        net = self.facts.net
        for node in net.graph.nodes:
            if node in self.facts.inputs:
                self.wholes[node] = self.quantised(node)
            elif isinstance(self.facts.module(node), DualThreshold):
                self.wholes[node] = self.neuron(node)
            elif node.op == "output":
                self.graph.output(map_arg(node.args[0], self.readout))
        return GraphModule(self.modules, self.graph, type(net).__name__)

    def quantised(self, node: Node) -> Whole:
        """An input of the network."""
        places = self.options.input_fraction_bits
        layer = FixedPoint(places, self.options.input_bits)
        whole = self.call(f"{node.name}_whole", layer, self.others[node])
        unit = torch.tensor(2.0**-places, dtype=torch.float64)
        return Whole(whole, unit, layer.largest, wide=True)

    def neuron(self, node: Node) -> Whole:
        """A neuron, in the unit that its weights ask for."""
        old, name = self.facts.module(node), str(node.target)
        assert isinstance(old, DualThreshold)
        if type(old) is not DualThreshold:
            remedy = "Give the network that convert returned, or its two channels."
            raise self.facts.refusal(node, "it is not the neuron of the paper", remedy)
        if getattr(old, "spike_sizes", 1) != 1:
            remedy = "Convert with spike_sizes=1."
            raise self.facts.refusal(node, "its spikes have several sizes", remedy)
        if old.signed:
            raise self.facts.refusal(node, "it is signed", "Whole numbers need rectifiers so far.")
        (source,) = node.args[:1]
        assert isinstance(source, Node)
        theta = old._theta().detach().double().cpu()
        bits = self.neuron_bits(name, theta, self.survey(source, theta.numel()))
        current, bound = self.current(source, theta / 2.0**bits)
        self.check_membrane(name, float((2.0**bits + self.options.num_steps * bound).max()))
        new = WholeNeuron(
            theta,
            bits,
            negative_threshold=old.negative_threshold,
            initial_membrane=old.initial_membrane,
            membrane_bits=self.options.membrane_bits,
            flat=theta.numel() > 1 and self.facts.ndim(source) is None,
        )
        new.qualified_name = name
        spikes = self.call(name, new, current, **self.times(node))
        return Whole(spikes, uniform(old.graded_spikes_factor.detach().double().cpu()), 1.0)

    def neuron_bits(self, name: str, theta: Tensor, survey: Survey) -> Tensor:
        """The bits k of each channel: as large as its weights allow, or else its membrane."""
        options = self.options
        by_weight = ((options.largest_weight + 0.49) * theta / survey.narrow).log2().floor()
        steps = options.num_steps if options.bounded else 1
        reach = (1 + steps * survey.reach / theta).max()
        by_membrane = (options.largest_membrane / reach).log2().floor()
        weighs = survey.narrow > 0
        bits = torch.where(
            weighs,
            torch.minimum(by_weight, by_membrane.clamp_min(_LARGEST_K)),
            by_membrane.clamp_max(_LARGEST_K).expand_as(by_weight),
        )
        if options.checked and bool(((bits < 0) & weighs).any()):
            raise ConfigError(
                f"{name}: its largest weight is {float((survey.narrow / theta).max()):.4g} θ, and "
                f"weight_bits={options.weight_bits} hold at most {options.largest_weight} θ. Give "
                "more weight_bits, or a larger θ to the layer"
            )
        if options.checked and bool((bits < _SMALLEST_K).where(~weighs, False).any()):
            self.refuse_membrane(name, float(reach * 2**_SMALLEST_K))
        return bits.clamp(0, 40)

    def check_membrane(self, name: str, reached: float) -> None:
        """Refuse a membrane that could overflow within T steps."""
        options = self.options
        if options.checked and options.bounded and reached > options.largest_membrane:
            self.refuse_membrane(name, reached)

    def refuse_membrane(self, name: str, reached: float) -> None:
        """Say how many bits a membrane needs, and what else helps."""
        options = self.options
        bits = math.ceil(math.log2(reached + 1)) + 1
        more = f"membrane_bits={bits}, " if bits <= largest_setting("membrane_bits") else ""
        steps = f"num_steps={options.num_steps}" if options.bounded else "one step"
        data = "; or data=batches, to measure what it does reach" if options.bounded else ""
        raise ConfigError(
            f"{name}: within {steps} its membrane could reach {reached:.4g}, for which "
            f"{options.membrane_bits} bits are too few. Give {more}fewer weight_bits or num_steps, "
            f"or smaller biases{data}"
        )

    def readout(self, node: Node) -> Node:
        """An output of the network, in the unit of the ANN's."""
        if node not in self.facts.live:
            return self.other(node)
        places = self.places(self.survey(node))
        current, bound = self.current(node, 2.0**-places)
        self.check_membrane(f"the output {node.name}", float(bound.max()))
        return self.call(f"{node.name}_readout", Readout(places), current)

    def places(self, survey: Survey) -> Tensor:
        """Binary places of a current that is no neuron's, as many as its weights allow."""
        weight = survey.narrow.max() if bool((survey.narrow > 0).any()) else survey.wide.max()
        fits = ((self.options.largest_weight + 0.49) / weight.clamp_min(2.0**-60)).log2().floor()
        return fits.clamp(-40, 40)

    # ------------------------------------------------------------------------ whole values

    def whole(self, node: Node) -> Whole:
        """A value as whole numbers; a current gets a unit of its own."""
        if node not in self.wholes:
            self.wholes[node] = self.moved(node) or self.materialised(node)
        return self.wholes[node]

    def materialised(self, node: Node) -> Whole:
        """A current that is no neuron's: wide whole numbers."""
        unit = 2.0 ** -self.places(self.survey(node))
        current, bound = self.current(node, unit)
        return Whole(current, unit, float(bound.max()), wide=True)

    def moved(self, node: Node) -> Whole | None:
        """What moves, averages or joins values; None if it does not."""
        facts, module = self.facts, self.facts.module(node)
        if isinstance(module, Scale):
            source = self.whole(facts.only(node))
            return replace(source, unit=uniform(source.unit * module.scale.double().cpu()))
        does = facts.what(node)
        if does is None:
            return None
        if does == "joins":
            return self.joined(node)
        source = self.whole(facts.only(node))
        if source.unit.ndim and not (flattens(facts.net, node) or facts.passes(node)):
            remedy = "Use one θ for the layer before it."
            raise facts.refusal(node, "it moves values of channels with different θ", remedy)
        new = self.copied(node, lambda n: self.whole(n).node)
        if does == "keeps":
            return replace(source, node=new)
        places = 0 if source.wide else AVERAGE_BITS
        new = self.call(f"{node.name}_whole", FixedPoint(places), new)
        return Whole(new, source.unit / 2.0**places, source.bound * 2.0**places, wide=True)

    def joined(self, node: Node) -> Whole:
        """A concatenation; spikes beside wide values become wide."""
        sources: Any = node.args[0]
        parts = [self.whole(source) for source in sources]
        alike = all(torch.equal(part.unit, parts[0].unit) for part in parts)
        sizes = [self.facts.channels(source) for source in sources]
        known = [size for size in sizes if size is not None]
        along = node.kwargs.get("dim", (*node.args, 0)[1]) == 1
        placed = self.facts.ndim(node) is not None or self.facts.flat(node)
        by_channel = along and placed and len(known) == len(sizes)
        if any(part.wide for part in parts) or not (alike or by_channel):
            parts = [part if part.wide else self.widened(part) for part in parts]
            alike = all(torch.equal(part.unit, parts[0].unit) for part in parts)
        unit = parts[0].unit
        if not alike and by_channel:
            unit = torch.cat([p.unit.expand(n) for p, n in zip(parts, known, strict=True)])
        elif not alike:
            unit = torch.stack([part.unit.min() for part in parts]).min()
            parts = [self.in_unit(part, unit) for part in parts]
        nodes = {source: part.node for source, part in zip(sources, parts, strict=True)}
        new = self.graph.node_copy(node, lambda n: nodes[n])
        return Whole(new, unit, max(part.bound for part in parts), parts[0].wide)

    def in_unit(self, part: Whole, unit: Tensor) -> Whole:
        """A wide value in another unit."""
        node, bound = self.weighed(part, unit)
        return Whole(node, unit, float(bound.max()), wide=True)

    def widened(self, part: Whole) -> Whole:
        """Spikes in the unit that their average has."""
        factor = torch.tensor(2.0**AVERAGE_BITS, dtype=torch.float64)
        new = self.call(f"{part.node.name}_widened", ChannelWeights(factor), part.node)
        return Whole(new, part.unit / factor, part.bound * float(factor), wide=True)
