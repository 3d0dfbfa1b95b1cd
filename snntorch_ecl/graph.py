"""The small passes that normalise a traced graph: each ``fn(gm) -> gm``, on a graph of our own."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .errors import UnsupportedError
from .operations import activations, aliases, is_idle, is_size, read_by_code
from .tracing import finish

__all__ = [
    "drop_identities",
    "fold_batchnorm",
    "functional_to_module",
    "functionalise",
    "owner",
    "unique_name",
]


# ---------------------------------------------------------------------------------- passes

_IN_PLACE_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    torch.relu_: torch.relu,
}
_IN_PLACE_METHODS = {"add_", "sub_", "mul_", "div_", "relu_", "clamp_", "clamp_min_", "neg_"}


def functionalise(gm: GraphModule) -> GraphModule:
    """Replace in-place operations by their counterparts that return a new tensor.

    Everything that read the overwritten tensor *afterwards* reads the new one, so that a shortcut
    taken from the input of ``nn.ReLU(inplace=True)`` keeps seeing the rectified values.

    Raises:
        UnsupportedError: The overwritten tensor is read afterwards through a view of it, or an
            operation overwrites its input and has no known counterpart.
    """
    modules = dict(gm.named_modules(remove_duplicate=False))
    in_place = {name for name, m in modules.items() if getattr(m, "inplace", False) is True}
    refused: list[str] = []
    for node in list(gm.graph.nodes):
        if not (node.op == "call_module" and node.target in in_place) and not _rewrite(node):
            if _overwrites(node):
                refused.append(
                    f"{node.name} in {owner(node) or 'forward'}: it overwrites its input"
                )
            continue
        overwritten = node.args[0] if node.args else None
        if isinstance(overwritten, Node) and not is_size(overwritten):
            refused += _reroute(gm, node, overwritten)
    for name in in_place:
        modules[name].inplace = False
    if refused:
        raise UnsupportedError(refused, "Use the operation that returns a new tensor instead.")
    return finish(gm)


def _reroute(gm: GraphModule, write: Node, overwritten: Node) -> list[str]:
    """Let later readers of the overwritten tensor read what was written; tell which cannot."""
    position = {node: index for index, node in enumerate(gm.graph.nodes)}
    same, views = aliases(gm, overwritten)
    refused = []
    for alias in [*same, *views]:
        for reader in list(alias.users):
            if position[reader] <= position[write] or reader in same or reader in views:
                continue
            if alias in same:
                reader.replace_input_with(alias, write)
            else:
                refused.append(
                    f"{write.name} in {owner(write) or 'forward'}: it overwrites a tensor that "
                    f"{reader.name} reads later through a view"
                )
    return refused


def _overwrites(node: Node) -> bool:
    """Whether a call writes into a tensor, by PyTorch's naming, in a way not known here."""
    if node.op not in ("call_function", "call_method") or not node.all_input_nodes:
        return False
    if node.target in (operator.ifloordiv, operator.ipow, operator.imod):
        return not is_size(node.all_input_nodes[0])
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name.endswith("_") and not name.endswith("__")


def _rewrite(node: Node) -> bool:
    """Make one function or method call out-of-place; tell whether it was in-place."""
    if node.op == "call_function" and node.target in _IN_PLACE_FUNCTIONS:
        node.target = _IN_PLACE_FUNCTIONS[node.target]
    elif node.op == "call_function" and node.kwargs.get("inplace") is True:
        node.kwargs = {**node.kwargs, "inplace": False}
    elif node.op == "call_method" and node.target in _IN_PLACE_METHODS:
        node.target = str(node.target).rstrip("_")
    else:
        return False
    return True


def functional_to_module(
    gm: GraphModule, builders: dict[Any, Callable[[dict[str, Any], bool], nn.Module | None]]
) -> GraphModule:
    """Give every functional activation or pooling its own module, named after where it is called.

    Args:
        gm: The graph.
        builders: From a function or method name to what makes the module out of the call's
            arguments by name and the mode it was traced in; None leaves the call as it is.
    """
    live = activations(gm)  # what is computed from parameters alone stays as it is
    for node in list(gm.graph.nodes):
        known = node in live and node.op in ("call_function", "call_method")
        builder = builders.get(node.target) if known else None
        module = builder(arguments(node), gm.training) if builder is not None else None
        if module is None:
            continue
        module.train(gm.training)
        kind = type(module).__name__.lower()
        name = unique_name(gm, f"{owner(node)}.{kind}".lstrip("."))
        gm.add_submodule(name, module)
        with gm.graph.inserting_before(node):
            call = gm.graph.call_module(name, (arguments(node)["input"],))
        call.meta = dict(node.meta)
        node.replace_all_uses_with(call)
        gm.graph.erase_node(node)
    return finish(gm)


def drop_identities(gm: GraphModule) -> GraphModule:
    """Remove dropout and ``nn.Identity``, which do nothing at inference."""
    for node in list(gm.graph.nodes):
        if node.op == "call_module" and is_idle(gm.get_submodule(str(node.target))):
            node.replace_all_uses_with(node.args[0])
            gm.graph.erase_node(node)
    return finish(gm)


_FOLDS: dict[type[nn.Module], tuple[type[nn.Module], Callable[..., nn.Module]]] = {
    nn.Conv1d: (nn.BatchNorm1d, fuse_conv_bn_eval),
    nn.Conv2d: (nn.BatchNorm2d, fuse_conv_bn_eval),
    nn.Conv3d: (nn.BatchNorm3d, fuse_conv_bn_eval),
    nn.ConvTranspose1d: (nn.BatchNorm1d, lambda c, b: fuse_conv_bn_eval(c, b, transpose=True)),
    nn.ConvTranspose2d: (nn.BatchNorm2d, lambda c, b: fuse_conv_bn_eval(c, b, transpose=True)),
    nn.ConvTranspose3d: (nn.BatchNorm3d, lambda c, b: fuse_conv_bn_eval(c, b, transpose=True)),
}


def fold_batchnorm(gm: GraphModule) -> GraphModule:
    """Fold each batch norm into the convolution that alone feeds it.

    Where the layer is shared, has other readers, is of a type of its own or has a weight that the
    network's code reads as well, the batch norm stays: at inference it is affine, so the converted
    network is right either way. It stays after a linear layer too, which acts on the last
    dimension: the norm acts on dimension 1, and only for input ``[B, features]`` are they the same.
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
        norm_type, fuse = _FOLDS.get(type(layer), (None, None))
        if norm_type is None or fuse is None or type(norm) is not norm_type:
            continue
        if (
            calls[str(source.target)] > 1
            or calls[str(node.target)] > 1
            or _groups_transposed(layer)
        ):
            continue
        if getattr(norm, "running_var", None) is None or not _is_plain(layer, norm):
            continue
        if any(id(t) in read for m in (layer, norm) for t in (*m.parameters(), *m.buffers())):
            continue
        folded = fuse(layer, norm)
        # torch freezes the bias it adds; it came from a trainable norm.
        for parameter in folded.parameters():
            parameter.requires_grad_(next(layer.parameters()).requires_grad)
        gm.add_submodule(str(source.target), folded)
        node.replace_all_uses_with(source)
        gm.graph.erase_node(node)
    gm.delete_all_unused_submodules()
    return finish(gm)


def _groups_transposed(layer: nn.Module) -> bool:
    # torch's fusion scales the wrong axis of a grouped transposed convolution.
    return type(layer).__name__.startswith("ConvTranspose") and getattr(layer, "groups", 1) > 1


def _is_plain(*modules: nn.Module) -> bool:
    """No hooks: they might rewrite weights or outputs (as old-style weight norm does)."""
    return not any(m._forward_hooks or m._forward_pre_hooks for m in modules)


# --------------------------------------------------------------------------------- helpers

_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "hardtanh": ("min_val", "max_val", "inplace"),
    "clamp": ("min", "max"),
    "clamp_min": ("min",),
    **{f"dropout{d}": ("p", "training", "inplace") for d in ("", "1d", "2d", "3d")},
    **{f"max_pool{d}d": _POOL for d in (1, 2, 3)},
    **{f"adaptive_max_pool{d}d": ("output_size", "return_indices") for d in (1, 2, 3)},
}


def arguments(node: Node) -> dict[str, Any]:
    """The arguments of a functional call by name, whichever way they were passed."""
    name = node.target if isinstance(node.target, str) else node.target.__name__
    names = ("input", *_PARAMETERS.get(name, ()))
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def owner(node: Node) -> str:
    """Qualified name of the module whose code made the call; empty at the top level."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [entry[0] if isinstance(entry, tuple) else entry for entry in stack.values()]
    return str(names[-1]) if names else ""


def unique_name(gm: GraphModule, wanted: str) -> str:
    """``wanted``, or ``wanted_1``, ``wanted_2``, … if something of that name exists."""
    name, count = wanted, 0
    while _exists(gm, name):
        count += 1
        name = f"{wanted}_{count}"
    return name


def _exists(gm: GraphModule, name: str) -> bool:
    parent, _, leaf = name.rpartition(".")
    try:
        return hasattr(gm.get_submodule(parent), leaf)
    except AttributeError:
        return False
