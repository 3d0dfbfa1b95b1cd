"""Counting what a spiking network does while it runs: synaptic operations and neuron updates."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import cycle
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import GraphModule, Node
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from .neuron import DualThreshold
from .operations import activations
from .temporal import Hold, Temporal
from .unit_spikes import Scale

__all__ = ["SYNAPTIC", "NeuronMeter", "SynapseMeter", "after_neurons", "fan_out", "uncounted"]

SYNAPTIC = (
    nn.Linear,
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    Scale,
)
"""Layers with synapses; whatever else computes is named as not counted."""

# These move values, or do nothing, at inference.
_FREE_MODULES = (Hold, nn.Dropout, nn.Identity, nn.Flatten, nn.Unflatten, nn.ChannelShuffle)
_FREE_CALLS = {
    "view", "reshape", "flatten", "unflatten", "permute", "transpose", "swapaxes", "squeeze",
    "unsqueeze", "expand", "contiguous", "chunk", "split", "tensor_split", "unbind", "getitem",
    "cat", "concat", "concatenate", "stack", "to", "float", "clone", "pad", "flip", "roll",
    "getattr",
}  # fmt: skip


def fan_out(layer: nn.Module, example: Tensor) -> Tensor:
    """How many synapses each value of a layer's input has: stride, padding and groups included.

    Args:
        layer: One of :data:`SYNAPTIC`.
        example: Its input, ``[B, ...]``.

    Returns:
        Counts, shaped like one image's input.

    Example:
        >>> fan_out(nn.Conv1d(1, 2, 3), torch.rand(1, 1, 4))  # two kernels, at both ends once
        tensor([[2., 4., 4., 2.]])
    """
    if isinstance(layer, Scale):
        return torch.ones_like(example[0])
    with torch.inference_mode(False), torch.enable_grad():
        ones = {name: torch.ones_like(p) for name, p in _tensors(layer).items()}
        probe = torch.ones_like(example[:1], dtype=ones["weight"].dtype).requires_grad_()
        functional_call(layer, ones, (probe,)).sum().backward()
    assert probe.grad is not None
    return probe.grad[0]


def _tensors(layer: nn.Module) -> dict[str, Tensor]:
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    return {"weight": weight, **({"bias": bias} if isinstance(bias, Tensor) else {})}


class SynapseMeter:
    """Operations of one layer with synapses.

    Args:
        layer: The layer.
        spiking: For each of its calls, in the graph's order, whether neurons come before it; else
            it runs once for all steps, on the input.
        num_steps: T.

    Attributes:
        macs: Multiplications with addition: every synapse of a layer on the input; behind
            neurons, every synapse of a value that is not zero, where values are no events.
        acs: Additions alone: every synapse of an event.
        dense: What the ANN's layer multiplies.
    """

    def __init__(self, layer: nn.Module, *, spiking: Sequence[bool], num_steps: int) -> None:
        self.layer = _plain(layer)  # before any hook: its fan-out is found in a hook
        self.num_steps = num_steps
        self._spiking = cycle(spiking)
        self.macs = self.acs = self.dense = 0.0
        self._fan_out: dict[torch.Size, Tensor] = {}

    def on_input(self, module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        """Forward hook of the layer."""
        x = args[0]
        if x.shape[1:] not in self._fan_out:
            self._fan_out[x.shape[1:]] = fan_out(self.layer, x).double()
        synapses = self._fan_out[x.shape[1:]]
        whole = float(synapses.sum()) * len(x)
        if not next(self._spiking):
            self.macs += whole
            self.dense += whole
            return
        if not isinstance(module, Scale):  # the ANN has none
            self.dense += whole / self.num_steps
        done = float(((x != 0).sum(0) * synapses).sum())
        if _are_events(x):
            self.acs += done
        else:
            self.macs += done


def _plain(layer: nn.Module) -> nn.Module:
    """A copy whose weights are parameters, not computed at each access."""
    with torch.inference_mode(False), torch.no_grad():
        plain = copy.deepcopy(layer)
        if is_parametrized(plain):
            names = list(cast(nn.ModuleDict, plain.parametrizations))
            weights = {name: getattr(plain, name) for name in names}
            # Not by torch's removal, which takes the weight from the original's class as well.
            del plain.parametrizations
            plain.__class__ = type_before_parametrizations(layer)
            for name, weight in weights.items():
                setattr(plain, name, nn.Parameter(weight))
    return plain


def _are_events(x: Tensor) -> bool:
    """Whether each channel knows one amplitude: then nothing has to be multiplied.

    Its sign says whether to add or to subtract. Sums and averages of spikes are no events.
    """
    size = x.abs().transpose(0, 1).flatten(1) if x.ndim > 1 else x.abs().unsqueeze(0)
    largest = size.amax(1)
    smallest = size.masked_fill(size == 0, torch.inf).amin(1)
    return bool(((largest == 0) | (smallest >= largest * (1 - 1e-5))).all())


class NeuronMeter:
    """Updates and spikes of one spiking layer.

    Attributes:
        neurons: How many there are, for one image.
        updates: Neurons × images × steps.
        spikes: Of either sign.
        negative: Spikes taken back.
        state_bytes: Membrane and net spike count of one image.
    """

    def __init__(self, neuron: DualThreshold) -> None:
        self.neuron = neuron
        self.neurons = self.updates = self.spikes = self.negative = self.state_bytes = 0

    def on_spikes(self, module: nn.Module, args: Any, output: Tensor) -> None:
        """Forward hook of the neuron."""
        self.neurons = output[0].numel()
        self.updates += output.numel()
        self.spikes += int((output != 0).sum())
        self.negative += int((output < 0).sum())
        mem, count = self.neuron.mem, self.neuron.spike_count
        # A plain integrate-and-fire neuron has no use for a count.
        counts = self.neuron.negative_threshold != -torch.inf
        self.state_bytes = self.neurons * (
            mem.element_size() + (count.element_size() if counts else 0)
        )


def after_neurons(net: GraphModule) -> set[Node]:
    """Nodes that run at every step: layers with state, and what reads them."""
    found: set[Node] = set()
    for node in net.graph.nodes:
        stateful = node.op == "call_module" and isinstance(
            net.get_submodule(str(node.target)), Temporal
        )
        if stateful or any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found


def uncounted(net: GraphModule) -> tuple[str, ...]:
    """Everything that computes with activations and has no entry in the table of costs."""
    live, found = activations(net), []
    for node in net.graph.nodes:
        if node not in live:
            continue
        if node.op == "call_module":
            module = net.get_submodule(str(node.target))
            if not isinstance(module, (*SYNAPTIC, DualThreshold, *_FREE_MODULES)):
                found.append(f"{node.target} ({type(module).__name__})")
        elif node.op in ("call_function", "call_method"):
            name = node.target if isinstance(node.target, str) else node.target.__name__
            if name not in _FREE_CALLS:
                found.append(f"{node.name} ({name})")
    return tuple(found)
