"""Count synaptic operations and neuron updates while a spiking network runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import GraphModule
from torch.overrides import TorchFunctionMode

from .._util.torch_internals import tree_leaves, tree_map
from ..graph._floats import floats_of
from ..graph._names import function_name, module_of
from ..graph._operations import moves_values
from ..graph._registry import kind_of
from ..graph._values import activations
from ..network import Seen
from ..nn import Difference, DualThreshold, Scale


def has_synapses(layer: nn.Module | None) -> bool:
    """Whether a layer multiplies its input by weights; only then are its synapses counted."""
    weighs = isinstance(layer, Scale) or (
        layer is not None and any(True for _ in layer.parameters())
    )
    return weighs and kind_of(layer).cost == "synapses"


def is_float(layer: nn.Module | None) -> bool:
    """Whether a layer computes in floating point at every step."""
    return type(layer) is Difference


def fan_out(layer: nn.Module, example: Tensor) -> Tensor:
    """The number of synapses of each value of a layer's input, shaped like one image.

    Each weight is replaced by 1 where the layer uses it. Then the gradient of the summed output is
    the number of ways from a value through the weights, with stride, padding and groups.

    Example:
        >>> fan_out(nn.Conv1d(1, 2, 3), torch.rand(1, 1, 4))  # two kernels, once at the ends
        tensor([[2., 4., 4., 2.]])
    """
    bare = _Bare(layer)
    state = {**dict(bare.named_parameters()), **dict(bare.named_buffers())}
    with torch.inference_mode(False), torch.enable_grad():
        constants = {name: _float32(value.detach()) for name, value in state.items()}
        probe = torch.ones_like(example[:1], dtype=torch.float32).requires_grad_()
        with _WeightsOfOne():
            total = functional_call(bare, constants, (probe,)).sum()
        (counts,) = torch.autograd.grad(total, probe)
    return counts[0]


def _float32(value: Tensor) -> Tensor:
    return value.float().clone() if value.is_floating_point() else value.clone()


class _Bare(nn.Module):
    """Runs a layer without its hooks, which must not see this extra call."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, input_: Tensor) -> Any:
        return self.layer.forward(input_)


class _WeightsOfOne(TorchFunctionMode):
    """Replaces constants by 1 in every function that also reads a value of the probe."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if any(_depends(value) for value in tree_leaves((args, kwargs))):
            args, kwargs = tree_map(_one, (args, kwargs))
        return func(*args, **kwargs)


def _depends(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _one(value: Any) -> Any:
    constant = isinstance(value, Tensor) and value.is_floating_point() and not value.requires_grad
    return torch.ones_like(value) if constant else value


class SynapseMeter:
    """Operations of one call of a layer with synapses, in a network of K spike sizes.

    Attributes:
        dense: Multiplications with addition in the ANN's layer.
    """

    def __init__(self, layer: nn.Module, num_steps: int, spike_sizes: int = 1) -> None:
        self.layer, self.num_steps, self.spike_sizes = layer, num_steps, spike_sizes
        self.dense = 0.0
        self._before_neurons = 0.0
        self._done = 0.0  # synapses of all values that are not zero
        self._fan_out: dict[torch.Size, Tensor] = {}
        # Of each channel's values that are not zero, by magnitude.
        self._largest: Tensor | None = None
        self._smallest: Tensor | None = None
        self._off = 0.0  # how far they are, in octaves, from halves, quarters, … of one of them

    def see(self, seen: Seen) -> None:
        """Count some steps of a group of images."""
        x = seen.input
        if x.shape[1:] not in self._fan_out:
            self._fan_out[x.shape[1:]] = fan_out(self.layer, x).cpu().double()
        synapses = self._fan_out[x.shape[1:]]
        whole = float(synapses.sum()) * len(x)
        if not seen.timed:  # it runs once for all steps, on the input
            self._before_neurons += whole
            self.dense += whole
            return
        if not isinstance(self.layer, Scale):  # the ANN has none
            self.dense += whole / self.num_steps
        self._done += float(((x != 0).sum(0).cpu() * synapses).sum())
        self._note_amplitudes(x)

    def _note_amplitudes(self, x: Tensor) -> None:
        size = x.abs().transpose(0, 1).flatten(1) if x.ndim > 1 else x.abs().unsqueeze(0)
        largest = size.amax(1)
        smallest = size.masked_fill(size == 0, torch.inf).amin(1)
        if self.spike_sizes > 1:
            known = largest if self._largest is None else self._largest
            one = torch.where(known > 0, known, largest).unsqueeze(1)
            octaves = (size / one).log2().nan_to_num(0.0, 0.0, 0.0)  # what is zero is no spike
            self._off = max(self._off, float((octaves - octaves.round()).abs().max()))
        if self._largest is None or self._smallest is None:
            self._largest, self._smallest = largest, smallest
        else:
            self._largest = torch.maximum(self._largest, largest)
            self._smallest = torch.minimum(self._smallest, smallest)

    @property
    def reads_events(self) -> bool:
        """Whether each channel's values have one magnitude, as spikes do: then additions suffice.

        With K spike sizes they may also be halves of it, quarters, and so on: shifts. The sign
        says whether to add or to subtract. Sums and averages of spikes are not events.
        """
        if self._largest is None or self._smallest is None:
            return True
        least = self._largest * 0.5 ** (self.spike_sizes - 1)
        alike = self._smallest >= least * (1 - 1e-5)
        return self._off < 1e-5 and bool(((self._largest == 0) | alike).all())

    @property
    def macs(self) -> float:
        """Multiplications with addition.

        Before the first neuron, all synapses; behind neurons, the synapses of values that are not
        zero, unless these are events.
        """
        return self._before_neurons + (0.0 if self.reads_events else self._done)

    @property
    def acs(self) -> float:
        """Additions: the synapses of all events."""
        return self._done if self.reads_events else 0.0


class NeuronMeter:
    """Updates and spikes of one spiking layer.

    Attributes:
        neurons: Number of neurons, for one image.
        updates: Neurons × images × steps.
        spikes: Number of spikes of either sign.
        negative: Number of negative spikes.
        state_bytes: Size of membranes and net spike counts for one image, in bytes.
    """

    def __init__(self, neuron: DualThreshold) -> None:
        self.neuron = neuron
        self.neurons = self.updates = self.spikes = self.negative = self.state_bytes = 0

    def see(self, seen: Seen) -> None:
        """Count some steps of a group of images."""
        spikes = seen.output
        self.neurons = spikes[0].numel()
        self.updates += spikes.numel()
        self.spikes += int((spikes != 0).sum())
        self.negative += int((spikes < 0).sum())
        # A plain integrate-and-fire neuron needs no count (an int32).
        counts = self.neuron.negative_threshold != -torch.inf
        self.state_bytes = self.neurons * (self.neuron.mem.element_size() + (4 if counts else 0))


class FloatMeter:
    """Floating-point operations of one call of a ``Difference``, which no spike drives.

    Attributes:
        floats: Those of all steps: the function's, and the sums, means and changes around it.
        dense: Those of the ANN, which calls the function once.
    """

    def __init__(self, layer: Difference, num_steps: int) -> None:
        self.layer, self.num_steps = layer, num_steps
        self.floats = self.dense = 0.0

    def see(self, seen: Seen) -> None:
        """Count some steps of a group of images."""
        shapes = self.layer.stream_shapes
        values = seen.output.numel() // seen.num_steps
        once = floats_of(self.layer.function, shapes, values)
        # Each value read is added to its sum and divided by t; each result is multiplied by t and
        # the one before is subtracted.
        around = 2 * sum(map(math.prod, shapes)) + 2 * values
        self.floats += seen.num_steps * (once + around)
        self.dense += once * seen.num_steps / self.num_steps


class ProductMeter(FloatMeter):
    """Operations of one call of a matrix product of two streams, A and B.

    With the running sums A and B, a step's spikes a and b change A·B by a·(B + b) + A·b: each spike
    adds a row of B, or a column of A. Where the operands are no spikes, it counts as any other
    ``Difference`` does.

    Attributes:
        macs: The ANN's multiplications with addition.
    """

    def __init__(self, layer: Difference, num_steps: int, spike_sizes: int) -> None:
        super().__init__(layer, num_steps)
        self._operands = [SynapseMeter(layer, num_steps, spike_sizes) for _ in range(2)]
        self._additions = self._changes = self.macs = 0.0

    def see(self, seen: Seen) -> None:
        """Count some steps of a group of images."""
        super().see(seen)
        a, b = seen.input, seen.others[0]
        for operand, x in zip(self._operands, (a, b), strict=True):
            operand._note_amplitudes(x)
        self._additions += int((a != 0).sum()) * b.shape[-1] + int((b != 0).sum()) * a.shape[-2]
        self._changes += 2 * seen.output.numel()  # A·B / t, and the change of it
        self.macs += seen.output.numel() * a.shape[-1] / self.num_steps

    @property
    def driven(self) -> bool:
        """Whether both operands are spikes."""
        return all(operand.reads_events for operand in self._operands)

    @property
    def counts(self) -> dict[str, float]:
        """The operations, by the names that :class:`LayerCost` gives them."""
        if not self.driven:
            return {"floats": self.floats, "ann_floats": self.dense}
        return {"acs": self._additions, "floats": self._changes, "ann_macs": self.macs}


def is_product(layer: Difference) -> bool:
    """Whether a layer is a matrix product of two streams."""
    return layer.streams == 2 and getattr(layer.function, "name", "") in ("matmul", "bmm")


def counted_layers(net: GraphModule) -> Iterable[str]:
    """Names of the layers whose operations are counted, in the order in which they run."""
    called = dict.fromkeys(str(n.target) for n in net.graph.nodes if n.op == "call_module")
    for name in called:
        module = net.get_submodule(name)
        if isinstance(module, DualThreshold) or is_float(module) or has_synapses(module):
            yield name


def uncounted(net: GraphModule) -> tuple[str, ...]:
    """Names of layers and operations that compute with activations but are not counted."""
    live, counted, found = activations(net), set(counted_layers(net)), []
    for node in net.graph.nodes:
        if node not in live:
            continue
        module = module_of(net, node)
        if module is not None:
            if node.target not in counted and kind_of(module).cost != "free":
                found.append(f"{node.target} ({type(module).__name__})")
        elif node.op in ("call_function", "call_method") and not moves_values(node):
            found.append(f"{node.name} ({function_name(node)})")
    return tuple(found)
