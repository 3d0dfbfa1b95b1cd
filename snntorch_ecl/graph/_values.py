"""What the nodes of a graph stand for: activations, sizes, views of each other."""

from __future__ import annotations

import operator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from .._util.torch_internals import Dropout as AnyDropout

_OPERATORS = {
    operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv, operator.neg,
    operator.getitem, operator.mod, operator.eq, operator.ne, operator.lt, operator.le, operator.gt,
    operator.ge, getattr, torch._assert,
}  # fmt: skip


_SIZE_ATTRIBUTES = {"shape", "ndim", "dtype", "device"}


def is_size(node: Node) -> bool:
    """Whether the node is a shape, a number computed from one, or the like: not activations."""
    if node.op == "call_method":
        return node.target in {"size", "dim", "numel"}
    if node.op != "call_function" or node.target not in _OPERATORS:
        return False
    if node.target is getattr:
        return node.args[1] in _SIZE_ATTRIBUTES
    return bool(node.all_input_nodes) and all(is_size(source) for source in node.all_input_nodes)


def activations(gm: GraphModule) -> set[Node]:
    """Nodes whose value depends on the network's input (parameters and sizes do not)."""
    found: set[Node] = set()
    for node in gm.graph.nodes:
        depends = node.op == "placeholder" or any(n in found for n in node.all_input_nodes)
        if depends and not is_size(node):
            found.add(node)
    return found


_IDLE = {
    kind.forward
    for kind in (
        *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
        *(nn.AlphaDropout, nn.FeatureAlphaDropout),
    )
}


def is_idle(module: nn.Module) -> bool:
    """Whether a layer does nothing at inference; a subclass with a forward of its own may."""
    return type(module).forward in _IDLE


def read_by_code(gm: GraphModule) -> set[int]:
    """Ids of the parameters and buffers that the network's code reads itself."""
    tensors: dict[str, Tensor] = dict(gm.named_parameters(remove_duplicate=False))
    tensors.update(gm.named_buffers(remove_duplicate=False))
    return {id(tensors.get(str(n.target))) for n in gm.graph.nodes if n.op == "get_attr"}


_VIEWS = {
    "view", "reshape", "flatten", "unflatten", "permute", "transpose", "swapaxes", "squeeze",
    "unsqueeze", "expand", "contiguous", "chunk", "split", "tensor_split", "unbind", "getitem", "t",
    "narrow", "select", "detach", "to", "float", "type_as", "view_as", "expand_as", "diagonal",
}  # fmt: skip


def aliases(gm: GraphModule, node: Node) -> tuple[set[Node], set[Node]]:
    """Nodes whose values share memory with a node's: the very same tensor, and views of it.

    Args:
        gm: The graph.
        node: A node of it.

    Returns:
        Nodes with the same tensor (``node`` among them), and nodes with a view, in either
        direction.
    """
    same: set[Node] = {node}
    views: set[Node] = set()
    todo = [node]
    while todo:
        current = todo.pop()
        neighbours = [(user, user) for user in current.users]
        neighbours += [(source, current) for source in current.all_input_nodes[:1]]
        for other, made_by in neighbours:
            kind = _aliasing(gm, made_by)
            if kind is None or other in same or other in views:
                continue
            (same if kind == "same" and current in same else views).add(other)
            todo.append(other)
    return same, views


def _aliasing(gm: GraphModule, node: Node) -> Literal["same", "view"] | None:
    """Whether a node hands on its input's memory."""
    if node.op == "call_module":
        module = gm.get_submodule(str(node.target))
        dropout = isinstance(module, AnyDropout)
        if is_idle(module) and not (dropout and module.training):
            return "same"
        return "view" if isinstance(module, (nn.Flatten, nn.Unflatten)) else None
    if node.op == "call_function" and node.target is getattr:
        return "view" if node.args[1] == "data" else None
    if node.op in ("call_function", "call_method"):
        name = node.target if isinstance(node.target, str) else _name(node.target)
        return "view" if name in _VIEWS else None
    return None


def _name(function: Any) -> str:
    # torch.add, operator.add and F.pad obey the same rules as the methods of their name; a user's
    # own wrapped function of such a name does not.
    package = (getattr(function, "__module__", None) or "").split(".")[0]
    return str(function.__name__) if package in {"torch", "_operator"} else ""
