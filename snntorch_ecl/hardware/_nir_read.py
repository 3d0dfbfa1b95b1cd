"""``from_nir``: a network from an NIR graph that follows the convention of ``to_nir``."""

from __future__ import annotations

import re
from keyword import iskeyword
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node

from ..errors import InputError, UnsupportedError
from ..graph._trace import finish
from ..network import Layer, SpikingNetwork
from ..network._time_axis import insert_time
from ..nn import DualThreshold
from ._clock import Shown
from ._lowered import LoweredNetwork
from ._nir import nir_module
from ._nir_layers import UnreadableError, layer_of, plain
from ._nir_trial import check_fits
from ._pulses import Pulses


def from_nir(graph: Any) -> SpikingNetwork:
    """Make a spiking network of an NIR graph.

    Args:
        graph: A ``nir.NIRGraph``, such as ``nir.read(path)`` returns, written by :func:`to_nir`; or
            any graph whose ``IF`` nodes have the metadata that the page *Chips* lists.

    Returns:
        The network; its spikes are −1, 0 and +1, and equal to those of the network that was
        written. Several outputs are a tuple.

    Raises:
        InputError: Not an NIR graph, or it has a cycle, or nodes that nothing reaches, or shapes
            that do not fit together.
        UnsupportedError: Nodes of another kind, an ``IF`` without metadata, or thresholds that
            differ within a channel; all are listed.
        MissingDependencyError: nir is not installed (extra ``nir``).

    Example:
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> from snntorch_ecl.hardware import to_nir
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> snn, images = convert(ann, unit_spikes=True), torch.rand(3, 8)
        >>> again = from_nir(to_nir(snn, images))
        >>> torch.equal(again(images, num_steps=4), snn(images, num_steps=4))
        True
    """
    nir = nir_module()
    if not isinstance(graph, nir.NIRGraph):
        raise InputError(f"from_nir takes a nir.NIRGraph; got {type(graph).__name__}")
    order = _order(graph)
    modules = _modules(nir, graph)
    shown, latency = _clock(graph)
    names = _names(graph)
    net = _built(nir, graph, order, modules, names, shown)
    inputs = [name for name in order if isinstance(graph.nodes[name], nir.Input)]
    check_fits(net, graph, names, _ordered(graph, inputs))
    neurons = [name for name in order if isinstance(modules.get(name), DualThreshold)]
    layers = [
        Layer(names[name], _count(name, graph.nodes[name], "ecl_levels") or None)
        for name in neurons
    ]
    for name in neurons:
        modules[name].qualified_name = names[name]  # type: ignore[assignment]
    snn = SpikingNetwork(finish(insert_time(net)), layers, unit_spikes=True).eval()
    return LoweredNetwork(snn.net, snn, {"kind": "nir"}, latency=latency).eval() if latency else snn


def _clock(graph: Any) -> tuple[int, int]:
    """For how many steps inputs are shown, and how many a run takes; 0: any."""
    return tuple(  # type: ignore[return-value]
        max((_count(name, node, key) for name, node in graph.nodes.items()), default=0)
        for key in ("ecl_shown", "ecl_latency")
    )


def _order(graph: Any) -> list[str]:
    """The nodes, each behind those that it reads."""
    unknown = {end for edge in graph.edges for end in edge} - set(graph.nodes)
    if unknown:
        raise InputError(f"edges of the NIR graph name nodes that it lacks: {sorted(unknown)}")
    waits = {name: {a for a, b in graph.edges if b == name} for name in graph.nodes}
    order: list[str] = []
    while waits:
        ready = [name for name, before in waits.items() if before <= set(order)]
        if not ready:
            raise InputError(
                f"the NIR graph has a cycle through {', '.join(sorted(waits)[:5])}; a converted "
                "network reads each layer once a step. Unroll or remove the recurrence"
            )
        order += ready
        waits = {name: before for name, before in waits.items() if name not in ready}
    return order


def _modules(nir: ModuleType, graph: Any) -> dict[str, nn.Module]:
    """The layer of each node that computes; nodes that have none are refused together."""
    found, refused = {}, []
    for name, node in graph.nodes.items():
        if isinstance(node, (nir.Input, nir.Output)):
            continue
        try:
            found[name] = layer_of(nir, node)
        except UnreadableError as error:
            refused.append(f"{name} ({type(node).__name__}): {error}")
    if refused:
        raise UnsupportedError(
            refused,
            "from_nir reads Conv1d, Conv2d, Linear, Affine, AvgPool2d, SumPool2d, Flatten, Scale, "
            "Threshold, and IF with the metadata that snntorch_ecl.hardware.to_nir writes.",
        )
    return found


def _built(
    nir: ModuleType,
    graph: Any,
    order: list[str],
    modules: dict[str, nn.Module],
    names: dict[str, str],
    shown: int,
) -> GraphModule:
    """The calls of the graph; several edges into a node are added."""
    built, clocks = Graph(), dict[str, nn.Module]()
    values: dict[str, Node] = {}
    inputs = _ordered(graph, [n for n in order if isinstance(graph.nodes[n], nir.Input)])
    outputs = _ordered(graph, [n for n in order if isinstance(graph.nodes[n], nir.Output)])
    for name in inputs:
        values[name] = built.placeholder(names[name])
    for name in inputs if shown else ():
        clock = f"clock.{names[name]}"
        clocks[clock] = Shown(shown)
        values[name] = built.call_module(clock, (values[name],))
    for name in order:
        if name in values:
            continue
        sources = [a for a, b in graph.edges if b == name]
        if not sources:
            raise InputError(f"no edge of the NIR graph leads to {name}")
        total = values[sources[0]]
        for source in sources[1:]:
            total = built.call_function(torch.add, (total, values[source]))
        pulses = graph.nodes[name].metadata.get("ecl_pulses")
        if pulses is not None:
            clock = f"clock.{names[name]}"
            clocks[clock] = Pulses(torch.tensor(np.asarray(pulses, dtype="f4")))
            total = built.call_module(clock, (total,))
        values[name] = total if name in outputs else built.call_module(names[name], (total,))
    if not (inputs and outputs):
        raise InputError("the NIR graph must have an Input and an Output")
    results = tuple(values[name] for name in outputs)
    built.output(results if len(results) > 1 else results[0])
    named = {names[name]: module for name, module in modules.items()}
    return GraphModule({**named, **clocks}, built)


def _ordered(graph: Any, names: list[str]) -> list[str]:
    """Inputs or outputs in the order in which the network had them."""
    return sorted(names, key=lambda name: _count(name, graph.nodes[name], "ecl_position"))


def _count(name: str, node: Any, key: str) -> int:
    """A whole number of a node's metadata; 0 if it is not there."""
    value = plain(node.metadata.get(key, 0))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0 or value % 1:
        raise InputError(f"{name}: its {key} must be a whole number >= 0; got {value!r}")
    return int(value)


def _names(graph: Any) -> dict[str, str]:
    """Names of the nodes that modules and arguments can have, all different."""
    found: dict[str, str] = {}
    empty = GraphModule({}, Graph())
    for name in graph.nodes:
        safe = re.sub(r"\W", "_", str(name))
        safe = safe if safe.isidentifier() else f"_{safe}"
        while safe in found.values() or iskeyword(safe) or hasattr(empty, safe):
            safe += "_"
        found[name] = safe
    return found
