"""Fold batch norms and remove dropout before conversion."""

from __future__ import annotations

from torch import nn
from torch.fx import GraphModule, Node
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .._util.torch_internals import TransposedConvolution, has_hooks
from ._names import module_of
from ._trace import finish
from ._values import is_idle, read_by_code


def drop_identities(gm: GraphModule) -> GraphModule:
    """Remove dropout and ``nn.Identity``, which do nothing at inference."""
    for node in list(gm.graph.nodes):
        module = module_of(gm, node)
        if module is not None and is_idle(module):
            node.replace_all_uses_with(node.args[0])
            gm.graph.erase_node(node)
    return finish(gm)


# Exact types: a subclass may do more with its weights.
_FOLDS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
    nn.ConvTranspose1d: nn.BatchNorm1d,
    nn.ConvTranspose2d: nn.BatchNorm2d,
    nn.ConvTranspose3d: nn.BatchNorm3d,
}


def fold_batchnorm(gm: GraphModule) -> GraphModule:
    """Fold each batch norm into the convolution before it.

    A batch norm stays where the convolution is shared, has other readers, is a subclass, or has a
    weight that the network's code reads as well. At inference it is affine, so the converted
    network is right either way. It also stays after a linear layer: that acts on the last
    dimension, the norm on dimension 1, and only for input ``[B, features]`` are these the same.
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
        if not _fits(layer, norm) or calls[str(source.target)] > 1 or calls[str(node.target)] > 1:
            continue
        if getattr(norm, "running_var", None) is None or has_hooks(layer, norm):
            continue
        if any(id(t) in read for m in (layer, norm) for t in (*m.parameters(), *m.buffers())):
            continue
        transpose = isinstance(layer, TransposedConvolution)
        folded: nn.Module = fuse_conv_bn_eval(layer, norm, transpose=transpose)  # type: ignore[arg-type, type-var]
        # torch freezes the bias that it adds, though the norm it comes from was trainable.
        for parameter in folded.parameters():
            parameter.requires_grad_(next(layer.parameters()).requires_grad)
        gm.add_submodule(str(source.target), folded)
        node.replace_all_uses_with(source)
        gm.graph.erase_node(node)
    gm.delete_all_unused_submodules()
    return finish(gm)


def _fits(layer: nn.Module, norm: nn.Module) -> bool:
    """Whether a layer is one of torch's convolutions and the norm can be folded into it."""
    if type(norm) not in (_FOLDS.get(type(layer)), nn.SyncBatchNorm) or type(layer) not in _FOLDS:
        return False
    # torch's fusion scales the wrong axis of a grouped transposed convolution.
    return not (isinstance(layer, TransposedConvolution) and layer.groups > 1)
