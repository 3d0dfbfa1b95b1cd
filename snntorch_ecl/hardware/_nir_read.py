"""``from_nir``: a network from an NIR graph that follows the convention of ``to_nir``."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node

from ..errors import InputError, UnsupportedError
from ..graph._trace import finish
from ..network import Layer, SpikingNetwork
from ..network._time_axis import insert_time
from ..nn import DualThreshold, Scale
from ._clock import Shown
from ._lowered import LoweredNetwork
from ._nir import VERSION, nir_module
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
        InputError: Not an NIR graph, or it has a cycle, or nodes that nothing reaches.
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
    net = _built(nir, graph, order, modules, shown)
    neurons = [name for name in order if isinstance(modules.get(name), DualThreshold)]
    layers = [Layer(_safe(n), int(graph.nodes[n].metadata["ecl_levels"]) or None) for n in neurons]
    for name in neurons:
        modules[name].qualified_name = _safe(name)  # type: ignore[assignment]
    snn = SpikingNetwork(insert_time(finish(net)), layers, unit_spikes=True).eval()
    return LoweredNetwork(snn.net, snn, {"kind": "nir"}, latency=latency).eval() if latency else snn


def _clock(graph: Any) -> tuple[int, int]:
    """For how many steps inputs are shown, and how many a run takes; 0: any."""
    every = [node.metadata for node in graph.nodes.values()]
    return tuple(  # type: ignore[return-value]
        max((int(data.get(key, 0)) for data in every), default=0)
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
        made = _module(nir, node)
        if isinstance(made, str):
            refused.append(f"{name} ({type(node).__name__}): {made}")
        else:
            found[name] = made
    if refused:
        raise UnsupportedError(
            refused,
            "from_nir reads Conv1d, Conv2d, Linear, Affine, AvgPool2d, SumPool2d, Flatten, Scale, "
            "and IF with the metadata that snntorch_ecl.hardware.to_nir writes.",
        )
    return found


def _module(nir: ModuleType, node: Any) -> nn.Module | str:
    """A node's layer, or why there is none."""
    if isinstance(node, nir.IF):
        return _neuron(node)
    if isinstance(node, (nir.Conv1d, nir.Conv2d)):
        return _convolution(nir, node)
    if isinstance(node, (nir.Affine, nir.Linear)):
        outputs, inputs = node.weight.shape
        return _weighted(nn.Linear(inputs, outputs, hasattr(node, "bias")), node)
    if isinstance(node, (nir.AvgPool2d, nir.SumPool2d)):
        size, stride, padding = (_ints(v) for v in (node.kernel_size, node.stride, node.padding))
        divisor = 1 if isinstance(node, nir.SumPool2d) else None
        return nn.AvgPool2d(size, stride, padding, divisor_override=divisor)
    if isinstance(node, nir.Flatten):
        start, end = int(node.start_dim), int(node.end_dim)
        return nn.Flatten(start + (start >= 0), end + (end >= 0))  # NIR counts without the batch
    if isinstance(node, nir.Scale):
        scale = _by_channel(node.scale)
        return "its factors differ within a channel" if scale is None else Scale(scale)
    return "a node of this kind is not known"


def _neuron(node: Any) -> nn.Module | str:
    """A neuron with the start, reset and bounds of its metadata."""
    known = {key: _plain(value) for key, value in node.metadata.items()}
    missing = [key for key in ("ecl_reset", "ecl_start", "ecl_negative_threshold", "ecl_levels")
               if key not in known]  # fmt: skip
    if missing:
        return f"its metadata lacks {', '.join(missing)}, and NIR leaves open how it resets"
    if known.get("ecl_version") != VERSION or known["ecl_reset"] != "subtract":
        return f"version {known.get('ecl_version')}, reset {known['ecl_reset']!r}"
    if bool((np.asarray(node.r) != 1).any()):
        return "its r is not 1"
    theta = _by_channel(node.v_threshold)
    if theta is None:
        return "its thresholds differ within a channel"
    return DualThreshold(
        theta,
        negative_threshold=float(known["ecl_negative_threshold"]),
        initial_membrane=float(known["ecl_start"]),
        init_hidden=True,
    )


def _convolution(nir: ModuleType, node: Any) -> nn.Module:
    """A convolution of one or two dimensions."""
    outputs, inputs, *size = node.weight.shape
    kind = nn.Conv2d if isinstance(node, nir.Conv2d) else nn.Conv1d
    padding = _plain(node.padding)
    layer = kind(
        inputs * int(node.groups),
        outputs,
        tuple(size),
        stride=_ints(node.stride),
        padding=padding if isinstance(padding, str) else _ints(node.padding),
        dilation=_ints(node.dilation),
        groups=int(node.groups),
    )
    return _weighted(layer, node)


def _weighted(layer: Any, node: Any) -> nn.Module:
    """The layer with a node's weights."""
    layer.weight = nn.Parameter(torch.tensor(node.weight))
    if layer.bias is not None:
        layer.bias = nn.Parameter(torch.tensor(node.bias))
    assert isinstance(layer, nn.Module)
    return layer


def _built(
    nir: ModuleType, graph: Any, order: list[str], modules: dict[str, nn.Module], shown: int
) -> GraphModule:
    """The calls of the graph; several edges into a node are added."""
    built, clocks = Graph(), dict[str, nn.Module]()
    values: dict[str, Node] = {}
    inputs = _ordered(graph, [n for n in order if isinstance(graph.nodes[n], nir.Input)])
    outputs = _ordered(graph, [n for n in order if isinstance(graph.nodes[n], nir.Output)])
    for name in inputs:
        values[name] = built.placeholder(_safe(name))
    for name in inputs if shown else ():
        clocks[f"{_safe(name)}_shown"] = Shown(shown)
        values[name] = built.call_module(f"{_safe(name)}_shown", (values[name],))
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
            clocks[f"{_safe(name)}_pulses"] = Pulses(torch.tensor(np.asarray(pulses)))
            total = built.call_module(f"{_safe(name)}_pulses", (total,))
        values[name] = total if name in outputs else built.call_module(_safe(name), (total,))
    if not (inputs and outputs):
        raise InputError("the NIR graph must have an Input and an Output")
    results = tuple(values[name] for name in outputs)
    built.output(results if len(results) > 1 else results[0])
    named = {_safe(name): module for name, module in modules.items()}
    return GraphModule({**named, **clocks}, built)


def _ordered(graph: Any, names: list[str]) -> list[str]:
    """Inputs or outputs in the order in which the network had them."""
    return sorted(names, key=lambda name: int(graph.nodes[name].metadata.get("ecl_position", 0)))


def _safe(name: str) -> str:
    """A name that torch allows for a module."""
    return name.replace(".", "_")


def _plain(value: Any) -> Any:
    """Metadata as it was before it went through a file."""
    value = (
        value.item() if isinstance(value, (np.ndarray, np.generic)) and value.size == 1 else value
    )
    return value.decode() if isinstance(value, bytes) else value


def _ints(value: Any) -> Any:
    """A setting of a layer, as torch takes it."""
    return tuple(map(int, value)) if np.ndim(value) else int(value)


def _by_channel(values: Any) -> Tensor | None:
    """One value of a layer, or one for each channel; None if they differ within a channel."""
    found = torch.tensor(np.asarray(values))
    if bool((found == found.flatten()[0]).all()):
        return found.flatten()[0]
    first = found.flatten(1)[:, 0] if found.ndim > 1 else found
    same = found.ndim == 1 or bool((found.flatten(1) == first.unsqueeze(1)).all())
    return first if same else None
