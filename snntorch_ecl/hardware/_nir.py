"""``to_nir``: a converted network as a graph of the Neuromorphic Intermediate Representation."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from .._util.optional import require
from .._util.torch_internals import tree_leaves
from ..errors import InputError, UnsupportedError
from ..graph._names import function_name
from ..graph._values import is_idle
from ..network import SpikingNetwork
from ..network._check_spiking import check_spiking
from ..network._guards import check_inputs, measuring
from ..nn import DualThreshold
from ..nn._stepwise import Hold
from ._clock import Shown, Window
from ._lowered import LoweredNetwork
from ._nir_layers import VERSION
from ._nir_nodes import Maker, NoNodeError, Shape, array, by_neuron
from ._pulses import Pulses
from ._shapes import Shapes
from ._whole_facts import Facts


def nir_module() -> ModuleType:
    """The package nir, if it is installed."""
    return require("nir", extra="nir")


def to_nir(snn: SpikingNetwork, *example: Tensor) -> Any:
    """Describe a network as an NIR graph, which ``nir.write`` writes to a file.

    Convolutions, linear layers, average pooling, flattening, sums (several edges into one node),
    concatenations of channels (weights of 0 and 1) and scales become NIR's nodes; and max-pooling
    of neurons that :func:`settle_then_fire` made. A neuron becomes an ``IF`` with a threshold for
    each neuron; what NIR's ``IF`` does not say is in the node's metadata: start, reset by
    subtraction, θ′, and the bounds of spikes and count. The page *Chips* lists the keys.

    Args:
        snn: What ``convert`` returned. With ``unit_spikes=True`` the weights contain θ; otherwise
            each ``IF`` is followed by a ``Scale`` by θ.
        *example: Inputs ``[B, ...]``, from which shapes are taken.

    Returns:
        The ``nir.NIRGraph``. :func:`from_nir` makes a network of it whose spikes are equal.

    Raises:
        UnsupportedError: A layer has no node in NIR, such as max-pooling of signed spikes; all are
            listed.
        InputError: The example does not fit.
        MissingDependencyError: nir is not installed (extra ``nir``).

    Example:
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> graph = to_nir(convert(ann, unit_spikes=True), torch.rand(1, 8))
        >>> [type(node).__name__ for node in graph.nodes.values()]
        ['Input', 'Affine', 'IF', 'Affine', 'Output']
    """
    nir = nir_module()
    check_spiking(snn)
    check_inputs(example, snn._arity)
    return _Writer(nir, snn, example).graph()


class _Writer:
    """Turns a graph's calls into NIR's nodes and edges."""

    def __init__(self, nir: ModuleType, snn: SpikingNetwork, example: tuple[Tensor, ...]) -> None:
        self.nir, self.facts = nir, Facts(snn.net)
        self.latency = snn.latency if isinstance(snn, LoweredNetwork) else None
        levels = {layer.name: layer.levels for layer in snn.layers}
        settled = self.latency is not None
        self.maker = Maker(nir, self.facts, levels, settled, snn.unit_spikes)
        shapes, dark = Shapes(snn.net), Shapes(snn.net)
        example = tuple(x[:1] for x in example)
        with measuring(snn), torch.no_grad():
            snn(*example, num_steps=self.latency or 1)  # says what is wrong with the example
            snn.reset()
            shapes.run(*example, 1, 1)
            snn.reset()
            dark.run(*map(torch.zeros_like, example), 1, 1)
        self.shapes, self.dark = shapes.shapes, dark.zeros
        self.pulses: dict[Node, Pulses] = {}
        self.shown = 0  # steps for which the input is shown; 0: all
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.ends: dict[Node, list[str]] = {}  # the nodes whose sum a value is

    def graph(self) -> Any:
        """The NIR graph; calls that have no node are refused together."""
        refused = []
        for node in self.facts.net.graph.nodes:
            if node in self.facts.inputs:
                metadata = {"ecl_position": self.facts.inputs.index(node)}
                shape = self.shapes[node]
                made = self.nir.Input(input_type={"input": np.array(shape)}, metadata=metadata)
                self.ends[node] = [self.add(node.name, made, [], shape)]
            elif node.op == "output":
                self.outputs(node)
            elif node in self.facts.live:
                try:
                    self.call(node)
                except NoNodeError as error:
                    refused.append(self.facts.refusal(node, error.why, error.remedy))
                    self.ends[node] = []
        if refused:
            remedies = dict.fromkeys(error.remedy for error in refused)
            lines = [site for error in refused for site in error.sites]
            raise type(refused[0])(lines, " ".join(remedies))
        try:
            return self.nir.NIRGraph(self.nodes, self.edges, {"ecl_version": VERSION})
        except ValueError as error:  # it takes kernels to be square
            remedy = "Use square kernels and windows: nir 1.0.8 takes all to be."
            raise UnsupportedError([f"nir does not take the graph: {error}"], remedy) from error

    def outputs(self, node: Node) -> None:
        """The network's outputs, in their order."""
        for position, source in enumerate(tree_leaves(node.args[0])):
            if not isinstance(source, Node) or source not in self.facts.live:
                raise InputError(
                    "NIR holds only tensors: let the network return a tensor or several"
                )
            made = self.nir.Output(
                output_type={"output": np.array(self.shapes[source])},
                metadata={"ecl_position": position},
            )
            name = f"output_{position}" if position else "output"
            self.add(name, made, self.ends[source], self.shapes[source])

    def add(self, name: str, node: Any, sources: list[str], shape: Shape) -> str:
        """Add a node that reads a sum of that shape; what is read twice goes through a scale."""
        while name in self.nodes:
            name += "_"
        for index, source in enumerate(sources):
            if source in sources[:index]:
                again = self.nir.Scale(np.ones(shape, "f4"))
                source = self.add(f"{source}_again", again, [source], shape)
            self.edges.append((source, name))
        self.nodes[name] = node
        return name

    def call(self, node: Node) -> None:
        """Enter what a call computes; :class:`NoNodeError` if it cannot be."""
        facts, module = self.facts, self.facts.module(node)
        if facts.adds(node):
            self.sum(node)
        elif facts.what(node) == "joins":
            self.join(node)
        elif len(facts.sources(node)) != 1 or not {node, *facts.sources(node)} <= {*self.shapes}:
            raise NoNodeError("NIR has no node for it")
        elif isinstance(module, _CLOCKED) or (module is not None and is_idle(module)):
            self.ends[node] = self.ends[facts.only(node)]
            self.clocked(node, module)
        else:
            self.chain(node, module)

    def chain(self, node: Node, module: nn.Module | None) -> None:
        """Enter the nodes of a call, one behind the other."""
        source, shape = self.facts.only(node), self.shapes[node]
        ends = self.ends[source]
        made = self.maker.chain(node, self.shapes[source], shape)
        for index, one in enumerate(made):
            kind = f"_{type(one).__name__.lower()}" if index else ""
            ends = [self.add(f"{node.name}{kind}", one, ends, self.shapes[source])]
        if isinstance(module, DualThreshold):
            if node in self.pulses:
                clock = {"ecl_shown": self.shown, "ecl_latency": self.latency}
                made[0].metadata.update(clock, ecl_pulses=array(self.pulses[node].bias))
            worth = module.graded_spikes_factor.detach()
            if bool((worth != 1).any()):
                scale = self.nir.Scale(by_neuron(worth, shape))
                ends = [self.add(f"{node.name}_worth", scale, ends, shape)]
        self.ends[node] = ends

    def join(self, node: Node) -> None:
        """A concatenation of channels: each value goes to its own by weights of 0 and 1."""
        parts: Any = node.args[0]
        along = node.kwargs.get("dim", (*node.args, 0)[1])
        if along not in (1, -len(self.shapes[node])):
            raise NoNodeError(f"it joins along dimension {along}", "Join channels, dimension 1.")
        first, channels = 0, self.shapes[node][0]
        self.ends[node] = []
        for index, value in enumerate(parts):
            shape = self.shapes[value]
            made = self.maker.part(shape, first, channels)
            self.ends[node].append(
                self.add(f"{node.name}_part{index}", made, self.ends[value], shape)
            )
            first += shape[0]

    def clocked(self, node: Node, module: nn.Module | None) -> None:
        """Remember what a clock does, for the metadata of inputs and neurons."""
        if isinstance(module, Shown):
            self.shown = module.num_steps
            if node not in self.dark:
                why = "what comes before it adds a bias"
                raise NoNodeError(why, "Begin with one layer with weights.")
        if isinstance(module, Pulses):
            readers = list(node.users)
            if not all(isinstance(self.facts.module(n), DualThreshold) for n in readers):
                remedy = "Let no layer with a bias read another without neuron."
                raise NoNodeError("no neuron follows", remedy)
            self.pulses.update(dict.fromkeys(readers, module))

    def sum(self, node: Node) -> None:
        """A sum is several edges; what is subtracted goes through a scale by −1."""
        terms = [a for a in node.args if isinstance(a, Node) and a in self.facts.live]
        if len(terms) != 2 or self.shapes[terms[0]] != self.shapes[terms[1]]:
            why = "it adds a constant, or values of two shapes"
            raise NoNodeError(why, "Make it the bias of a layer.")
        first, second = (self.ends[term] for term in terms)
        if function_name(node) == "sub":
            minus = self.nir.Scale(-np.ones(self.shapes[node], "f4"))
            second = [self.add(f"{node.name}_minus", minus, second, self.shapes[node])]
        self.ends[node] = [*first, *second]


_CLOCKED = (Hold, Shown, Window, Pulses)
