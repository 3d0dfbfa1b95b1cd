"""Fold batch norms and remove dropout before conversion."""

from __future__ import annotations

import copy
from collections.abc import Collection
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .._util.torch_internals import TransposedConvolution, has_hooks
from ._names import module_of
from ._values import is_idle, read_by_code


def drop_identities(gm: GraphModule) -> GraphModule:
    """Remove dropout and ``nn.Identity``, which do nothing at inference."""
    for node in list(gm.graph.nodes):
        module = module_of(gm, node)
        if module is not None and is_idle(module):
            node.replace_all_uses_with(node.args[0])
            gm.graph.erase_node(node)
    return gm


_FOLDS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
    nn.ConvTranspose1d: nn.BatchNorm1d,
    nn.ConvTranspose2d: nn.BatchNorm2d,
    nn.ConvTranspose3d: nn.BatchNorm3d,
}


def fold_batchnorm(gm: GraphModule, kept: Collection[str] = ()) -> GraphModule:
    """Fold each batch norm, but those whose names are ``kept``, into the convolution before it.

    A batch norm stays where the convolution is shared, has other readers, is a subclass that does
    more with its weights, or has a weight that the network's code reads as well. At inference it is
    affine, so the converted network is right either way. It also stays after a linear layer: that
    acts on the last dimension, the norm on dimension 1, and only for input ``[B, features]`` are
    these the same.
    """
    read = read_by_code(gm)
    calls: dict[str, int] = {}
    for node in gm.graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    for node in list(gm.graph.nodes):
        source = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(source, Node) or source.op != "call_module" or len(source.users) != 1:
            continue
        layer, norm = (gm.get_submodule(str(n.target)) for n in (source, node))
        if str(node.target) in kept:
            continue
        if not _fits(layer, norm) or calls[str(source.target)] > 1 or calls[str(node.target)] > 1:
            continue
        if getattr(norm, "running_var", None) is None or has_hooks(layer, norm):
            continue
        if any(id(t) in read for m in (layer, norm) for t in (*m.parameters(), *m.buffers())):
            continue
        folded = _folded(layer, norm)
        if folded is None:
            continue
        # torch freezes the bias that it adds, though the norm it comes from was trainable.
        for parameter in folded.parameters():
            parameter.requires_grad_(next(layer.parameters()).requires_grad)
        gm.add_submodule(str(source.target), folded)
        node.replace_all_uses_with(source)
        gm.graph.erase_node(node)
    gm.delete_all_unused_submodules()
    return gm


def _fits(layer: nn.Module, norm: nn.Module) -> bool:
    """Whether a layer is a convolution and the norm can be folded into it, if nothing else is."""
    kind = next((kind for kind in _FOLDS if isinstance(layer, kind)), None)
    if kind is None or type(norm) not in (_FOLDS[kind], nn.SyncBatchNorm):
        return False
    # torch's fusion scales the wrong axis of a grouped transposed convolution.
    return not (isinstance(layer, TransposedConvolution) and layer.groups > 1)


def _folded(layer: nn.Module, norm: nn.Module) -> nn.Module | None:
    """The convolution with the norm in its weights; None if it does something else with them."""
    return _fused(layer, norm) if type(layer) in _FOLDS or _equal(layer, norm) else None


def _fused(layer: nn.Module, norm: nn.Module) -> nn.Module:
    transpose = isinstance(layer, TransposedConvolution)
    fused: nn.Module = fuse_conv_bn_eval(layer, norm, transpose=transpose)  # type: ignore[arg-type, type-var]
    return fused


def _equal(layer: nn.Module, norm: nn.Module) -> bool:
    """Whether a subclass, such as one with its own padding, gives the same with the norm folded.

    It is asked in double precision, with random input and values: so the answer is that of the
    layer's code, and the same for a network that is trained and for one that a file is loaded into.
    """
    try:
        layer, norm = (copy.deepcopy(m).cpu().double() for m in (layer, norm))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for tensor in chain(*(m.parameters() for m in (layer, norm)), norm.buffers()):
                if tensor.is_floating_point():
                    tensor.uniform_(0.5, 1.5, generator=generator)
            x = torch.randn(_enough(layer), generator=generator, dtype=torch.float64)
            return torch.allclose(_fused(layer, norm)(x), norm(layer(x)), rtol=1e-9, atol=1e-9)
    except Exception:  # whatever a foreign layer does
        return False


def _enough(layer: Any) -> tuple[int, ...]:
    """The shape of two images that are large enough for a convolution."""
    sizes = zip(layer.kernel_size, layer.dilation, layer.stride, strict=True)
    return (2, layer.in_channels, *(2 * d * (k - 1) + s + 1 for k, d, s in sizes))
