r"""Spikes of −1, 0 and +1: θ moves from the neurons into the layers that read them.

A converted neuron emits θ·s(t) with s(t) ∈ {−1, 0, +1}. Whatever lies between neurons is affine,
so θ may be multiplied in later:

.. math:: W\,(θ ⊙ s) + b = (W\,\mathrm{diag}(θ))\,s + b

θ travels from the neuron through layers that commute with a positive scaling of each channel
(pooling, padding, upsampling) into the weights of the convolution or linear layer behind them. At
every other reader (an addition, a concatenation, a layer that is called twice, the network's
output) a :class:`Scale` multiplies: on a chip, one synapse per neuron.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from .._util.torch_internals import Convolution, TransposedConvolution, has_hooks
from ..errors import UnsupportedError
from ..graph._names import has_own, module_of, unique_name
from ..graph._ndims import flattens, ndims
from ..graph._registry import kind_of
from ..graph._values import is_size, read_by_code
from ..nn._dual_threshold import DualThreshold
from ..nn._pool import SignedMaxPool
from ..nn._scale import Scale


def unit_spikes(gm: GraphModule) -> GraphModule:
    """Make every neuron's spikes −1, 0 or +1, and move θ to where they are read, in place.

    Where a :class:`Scale` is inserted depends on the graph alone, never on values. With one θ a
    channel it also depends on the number of dimensions, as that decides which axis the channels
    are. Where the number is not known (linear layers and pooling that no convolution or
    flattening precedes), one θ per channel gets a :class:`Scale`, one per layer does not.

    Example:
        >>> graph = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)))
        >>> neuron = DualThreshold(0.5, graded_spikes_factor=0.5, init_hidden=True)
        >>> graph.add_submodule("0", neuron)
        True
        >>> weight = graph.get_submodule("1").weight
        >>> torch.equal(unit_spikes(graph).get_submodule("1").weight, 0.5 * weight)
        True
    """
    neurons = _neurons(gm)
    worth = {node: neuron.graded_spikes_factor.clone() for node, neuron in neurons.items()}
    for neuron in neurons.values():
        neuron.graded_spikes_factor = torch.ones_like(neuron.graded_spikes_factor)
    mover = _ScaleMover(gm)
    for node, scale in worth.items():
        mover.scale_readers(node, scale)
    return gm


def _neurons(gm: GraphModule) -> dict[Node, DualThreshold]:
    """The neurons that emit spikes worth θ, by their calls."""
    found: dict[Node, DualThreshold] = {}
    refused = []
    for node in gm.graph.nodes:
        module = module_of(gm, node)
        if not isinstance(module, DualThreshold):
            continue
        factor = module.graded_spikes_factor
        if isinstance(factor, nn.Parameter) or not torch.equal(factor, module.threshold.detach()):
            refused.append(f"{node.target} (DualThreshold): graded_spikes_factor is not θ")
        found[node] = module
    if refused:
        raise UnsupportedError(
            refused,
            "With unit_spikes=True a spike stands for θ: let the handler return a neuron with "
            "graded_spikes_factor=threshold, or convert without unit_spikes.",
        )
    return found


class _ScaleMover:
    """Moves scales along a graph, from reader to reader."""

    def __init__(self, gm: GraphModule) -> None:
        self.gm = gm
        self.ndims = ndims(gm)
        self.calls = [m for m in (module_of(gm, n) for n in gm.graph.nodes) if m is not None]
        self.read = read_by_code(gm)

    def scale_readers(self, source: Node, scale: Tensor) -> None:
        """Make all readers of a value read it scaled."""
        others = []
        for reader in list(source.users):
            if is_size(reader):
                continue
            if self.absorbs(reader, source, scale):
                _fold(module_of(self.gm, reader), scale)
            elif self.passes_on(reader, source, scale):
                self.scale_readers(reader, scale)
            else:
                others.append(reader)
        if others:
            self.insert(source, others, scale)

    def insert(self, source: Node, readers: list[Node], scale: Tensor) -> None:
        """Insert one :class:`Scale` for all readers that cannot take the scale themselves."""
        start = source.target if source.op == "call_module" else source.name
        name = unique_name(self.gm, f"{start}_scale")
        self.gm.add_submodule(name, Scale(scale))
        with self.gm.graph.inserting_after(source):
            scaled = self.gm.graph.call_module(name, (source,))
        for reader in readers:
            reader.replace_input_with(source, scaled)

    def absorbs(self, reader: Node, source: Node, scale: Tensor) -> bool:
        """Whether a reader's weights can take the scale without affecting anything else."""
        module = module_of(self.gm, reader)
        if module is None or kind_of(module).scale != "weight":
            return False
        if reader.all_input_nodes != [source] or self.calls.count(module) > 1:
            return False
        if has_hooks(module) or not has_own(self.gm, module, "weight"):
            return False
        return id(module.weight) not in self.read and self.fits(module, source, scale)

    def fits(self, module: nn.Module, source: Node, scale: Tensor) -> bool:
        """Whether the scale lies along the dimension that a layer's weights act on."""
        if scale.numel() == 1:
            return True
        if isinstance(module, nn.Linear):  # it acts on the last dimension
            return self.ndims.get(source) == 2 and module.in_features % scale.numel() == 0
        return bool(module.in_channels == scale.numel())

    def passes_on(self, reader: Node, source: Node, scale: Tensor) -> bool:
        """Whether scaling what a reader returns is the same as scaling what it reads."""
        module = module_of(self.gm, reader)
        if module is not None and has_hooks(module):
            return False
        if flattens(self.gm, reader):
            # A scale of the flattened values needs their number, which only a linear layer knows.
            return all(is_size(r) or self.absorbs(r, reader, scale) for r in reader.users)
        kind = kind_of(module.pool if isinstance(module, SignedMaxPool) else module)
        if kind.scale != "passes":
            return False
        return kind.dims is None or scale.numel() == 1 or self.ndims.get(source) == kind.dims + 2


def _fold(module: nn.Module | None, scale: Tensor) -> None:
    """Replace a layer's weight by a copy, multiplied by the scale of its input channels."""
    assert module is not None
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    factor = scale.to(weight.device, weight.dtype).flatten()
    if factor.numel() > 1:
        factor = _along_inputs(module, weight, factor)
    folded = nn.Parameter(weight.detach() * factor, requires_grad=weight.requires_grad)
    module.weight = folded


def _along_inputs(module: nn.Module, weight: Tensor, factor: Tensor) -> Tensor:
    """A factor ``[C]`` of the input channels, shaped like a weight."""
    if isinstance(module, nn.Linear):  # the values of a flattened channel are adjacent
        return factor.repeat_interleave(module.in_features // len(factor))
    places = [1] * (weight.ndim - 2)
    if isinstance(module, TransposedConvolution):  # [in, out / groups, ...]
        return factor.view(-1, 1, *places)
    assert isinstance(module, Convolution)  # [out, in / groups, ...]
    groups = factor.view(module.groups, 1, -1).expand(-1, len(weight) // module.groups, -1)
    return groups.reshape(*weight.shape[:2], *places)
