"""``to_nir``: a converted network as a graph of the Neuromorphic Intermediate Representation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from .._util.optional import require
from .._util.torch_internals import tree_leaves
from ..errors import InputError
from ..functional._channels import over_channels
from ..graph._names import function_name
from ..graph._values import is_idle
from ..network import SpikingNetwork
from ..network._check_spiking import check_spiking
from ..network._guards import check_inputs, measuring
from ..nn import DualThreshold
from ..nn._stepwise import Hold
from ._clock import Shown, Window
from ._lowered import LoweredNetwork
from ._pulses import Pulses
from ._shapes import Shapes
from ._whole_facts import Facts, Norm

VERSION = 1
"""Version of the convention for a node's metadata."""


def nir_module() -> ModuleType:
    """The package nir, if it is installed."""
    return require("nir", extra="nir")


def to_nir(snn: SpikingNetwork, *example: Tensor) -> Any:
    """Describe a network as an NIR graph, which ``nir.write`` writes to a file.

    Convolutions, linear layers, average pooling, flattening, sums (several edges into one node) and
    scales become NIR's nodes. A neuron becomes an ``IF`` with a threshold for each neuron; what
    NIR's ``IF`` does not say is in the node's metadata: start, reset by subtraction, θ′, and the
    bounds of spikes and count. The page *Chips* lists the keys.

    Args:
        snn: What ``convert`` returned. With ``unit_spikes=True`` the weights contain θ; otherwise
            each ``IF`` is followed by a ``Scale`` by θ.
        *example: Inputs ``[B, ...]``, from which shapes are taken.

    Returns:
        The ``nir.NIRGraph``. :func:`from_nir` makes a network of it whose spikes are equal.

    Raises:
        UnsupportedError: A layer has no node in NIR, such as max-pooling; all are listed.
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
        self.levels = {layer.name: layer.levels for layer in snn.layers}
        self.latency = snn.latency if isinstance(snn, LoweredNetwork) else None
        shapes, dark = Shapes(snn.net), Shapes(snn.net)
        with measuring(snn), torch.no_grad():
            snn.reset()  # of whatever ran before
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
                shape = np.array(self.shapes[node])
                made = self.nir.Input(input_type={"input": shape}, metadata=metadata)
                self.ends[node] = [self.add(node.name, made, [])]
            elif node.op == "output":
                self.outputs(node)
            elif node in self.facts.live:
                reason = self.call(node)
                if reason is not None:
                    refused.append(self.facts.refusal(node, *reason))
                    self.ends[node] = []
        if refused:
            remedies = dict.fromkeys(error.remedy for error in refused)
            lines = [site for error in refused for site in error.sites]
            raise type(refused[0])(lines, " ".join(remedies))
        return self.nir.NIRGraph(self.nodes, self.edges, {"ecl_version": VERSION})

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
            self.add(f"output_{position}" if position else "output", made, self.ends[source])

    def add(self, name: str, node: Any, sources: list[str]) -> str:
        """Add a node that reads the sum of others; a value read twice goes through a scale."""
        while name in self.nodes:
            name += "_"
        for index, source in enumerate(sources):
            if source in sources[:index]:
                shape = self.nodes[source].output_type["output"]
                source = self.add(f"{source}_again", self.nir.Scale(np.ones(shape, "f4")), [source])
            self.edges.append((source, name))
        self.nodes[name] = node
        return name

    def call(self, node: Node) -> tuple[str, str] | None:
        """Enter what a call computes; why it cannot be, and what to do."""
        facts, module = self.facts, self.facts.module(node)
        if facts.adds(node):
            return self.sum(node)
        if len(facts.sources(node)) != 1 or node not in self.shapes:
            return "NIR has no node for it", _REMEDY
        sources = self.ends[facts.only(node)]
        through = isinstance(module, (Hold, Shown, Window, Pulses))
        if through or (module is not None and is_idle(module)):
            self.ends[node] = sources
            return self.clocked(node, module)
        made = self.made(node, module)
        if isinstance(made, tuple):
            return made
        self.ends[node] = [self.add(node.name, made, sources)]
        if isinstance(module, DualThreshold):
            worth = module.graded_spikes_factor.detach()
            if bool((worth != 1).any()):
                scale = self.nir.Scale(_by_neuron(worth, self.shapes[node]))
                self.ends[node] = [self.add(f"{node.name}_worth", scale, self.ends[node])]
        return None

    def clocked(self, node: Node, module: nn.Module | None) -> tuple[str, str] | None:
        """Remember what a clock does, for the metadata of inputs and neurons."""
        if isinstance(module, Shown):
            self.shown = module.num_steps
            if node not in self.dark:
                return "what comes before it adds a bias", "Begin with one layer with weights."
        if isinstance(module, Pulses):
            readers = list(node.users)
            if not all(isinstance(self.facts.module(n), DualThreshold) for n in readers):
                return "no neuron follows", "Let no layer with a bias read another without neuron."
            self.pulses.update(dict.fromkeys(readers, module))
        return None

    def sum(self, node: Node) -> tuple[str, str] | None:
        """A sum is several edges; what is subtracted goes through a scale by −1."""
        terms = [a for a in node.args if isinstance(a, Node) and a in self.facts.live]
        if len(terms) != 2 or self.shapes[terms[0]] != self.shapes[terms[1]]:
            return "it adds a constant, or values of two shapes", "Make it the bias of a layer."
        first, second = (self.ends[term] for term in terms)
        if function_name(node) == "sub":
            minus = self.nir.Scale(-np.ones(self.shapes[node], "f4"))
            second = [self.add(f"{node.name}_minus", minus, second)]
        self.ends[node] = [*first, *second]
        return None

    def made(self, node: Node, module: nn.Module | None) -> Any:
        """NIR's node for a call; or why there is none, and what to do."""
        shape = self.shapes[self.facts.only(node)]
        if isinstance(module, DualThreshold):
            made = self.neuron(module, self.shapes[node], str(node.target))
            if node in self.pulses and not isinstance(made, tuple):
                clock = {"ecl_shown": self.shown, "ecl_latency": self.latency}
                made.metadata.update(clock, ecl_pulses=_array(self.pulses[node].bias))
            return made
        if type(module) in (nn.Conv1d, nn.Conv2d):
            return self.convolution(module, shape)
        if type(module) is nn.Linear and len(shape) == 1:
            values = [_array(parameter) for parameter in module.parameters()]
            return (self.nir.Affine if len(values) == 2 else self.nir.Linear)(*values)
        if (module is None and function_name(node) in _FLATTEN) or isinstance(module, nn.Flatten):
            if len(self.shapes[node]) != 1:
                return "NIR's Flatten is known to its readers for all dimensions only", _REMEDY
            return self.nir.Flatten({"input": np.array(shape)}, start_dim=0, end_dim=-1)
        if self.facts.what(node) == "averages":
            return self.pool(module, shape, self.shapes[node])
        if isinstance(module, Norm):
            return "it is a batch norm", "Call snn.fold_batchnorms()."
        factor = self.facts.factor(node)
        if factor is not None:
            return self.nir.Scale(_by_neuron(factor[0].float(), shape))
        return "NIR has no node for it", _REMEDY

    def neuron(self, neuron: DualThreshold, shape: tuple[int, ...], name: str) -> Any:
        """An ``IF``, with what it leaves open in its metadata."""
        if neuron.spike_sizes != 1 or neuron.signed or type(neuron) is not DualThreshold:
            return (
                "it is not the neuron of the paper",
                "Convert with spike_sizes=1 and without signed clips, in floating point.",
            )
        theta = _by_neuron(neuron._theta().detach(), shape)
        plain = neuron.negative_threshold == -math.inf
        metadata: Mapping[str, Any] = {
            "ecl_version": VERSION,
            "ecl_reset": "subtract",
            "ecl_fires_at": ">=",
            "ecl_start": neuron.initial_membrane,
            "ecl_negative_threshold": neuron.negative_threshold,
            "ecl_spikes": np.array([0 if plain else -1, 1]),
            "ecl_lowest_count": 0,
            "ecl_levels": self.levels.get(name) or 0,
        }
        zeros = np.zeros_like(theta)
        return self.nir.IF(np.ones_like(theta), theta, zeros, metadata=dict(metadata))

    def convolution(self, layer: Any, shape: tuple[int, ...]) -> Any:
        """A convolution; without a bias it gets zeros."""
        if layer.padding_mode != "zeros":
            return f"padding_mode={layer.padding_mode!r}", "NIR's convolutions pad with zeros."
        bias = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias
        many = isinstance(layer, nn.Conv2d)
        kind, size = (self.nir.Conv2d, shape[1:]) if many else (self.nir.Conv1d, shape[1])

        def setting(value: Any) -> Any:
            return value if many or isinstance(value, str) else value[0]

        places = (setting(layer.stride), setting(layer.padding), setting(layer.dilation))
        return kind(size, _array(layer.weight), *places, layer.groups, _array(bias))

    def pool(self, module: Any, shape: tuple[int, ...], output: tuple[int, ...]) -> Any:
        """Average pooling over windows of equal size."""
        if type(module) is nn.AvgPool2d:
            usual = module.count_include_pad or module.padding in (0, (0, 0))
            if usual and not module.ceil_mode and not module.divisor_override:
                sizes = (module.kernel_size, module.stride, module.padding)
                return self.nir.AvgPool2d(*(np.array(_pair(size)) for size in sizes))
        elif type(module) is nn.AdaptiveAvgPool2d:
            size = [n // m for n, m in zip(shape[1:], output[1:], strict=True)]
            if [n * m for n, m in zip(size, output[1:], strict=True)] == list(shape[1:]):
                return self.nir.AvgPool2d(np.array(size), np.array(size), np.array([0, 0]))
        return (
            "NIR averages over 2-D windows of one size only",
            "Use nn.AvgPool2d without ceil_mode.",
        )


_FLATTEN = ("flatten", "view", "reshape")
_REMEDY = (
    "NIR describes convolutions, linear layers, average pooling over 2-D windows, flattening, sums "
    "and scales. Replace nn.MaxPool2d by nn.AvgPool2d before training."
)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _array(value: Tensor) -> Any:
    return value.detach().cpu().numpy()


def _by_neuron(value: Tensor, shape: tuple[int, ...]) -> Any:
    """A value ``[]`` or ``[C]`` for each neuron of a layer."""
    spread = over_channels(value.cpu(), torch.empty(1, *shape))
    return np.ascontiguousarray(spread.expand(1, *shape)[0].numpy())
