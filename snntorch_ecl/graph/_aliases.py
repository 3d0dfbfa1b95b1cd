"""Which values of a graph share memory."""

from __future__ import annotations

from typing import Literal

from torch import nn
from torch.fx import GraphModule, Node

from .._util.torch_internals import Dropout as AnyDropout
from ._names import module_of
from ._operations import operation_of
from ._values import is_idle


def aliases(gm: GraphModule, node: Node) -> tuple[set[Node], set[Node]]:
    """Nodes with the same tensor as a node (itself included), and nodes with a view of it.

    A node also counts as a view where ``node`` is a view of it.
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
    """Whether a node's output shares memory with its input."""
    module = module_of(gm, node)
    if module is not None:
        dropout = isinstance(module, AnyDropout)
        if is_idle(module) and not (dropout and module.training):
            return "same"
        return "view" if isinstance(module, (nn.Flatten, nn.Unflatten)) else None
    if node.op == "call_function" and node.target is getattr:
        return "view" if node.args[1] == "data" else None
    if node.op in ("call_function", "call_method"):
        return "view" if operation_of(node).view else None
    return None
