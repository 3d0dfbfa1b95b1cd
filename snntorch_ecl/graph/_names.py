"""Names of calls and modules in a graph, and whether modules share parameters."""

from __future__ import annotations

from torch import Tensor, nn
from torch.fx import GraphModule, Node

from .._util.torch_internals import own_parameter


def owner(node: Node) -> str:
    """Qualified name of the module whose code made the call; empty at the top level."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [entry[0] if isinstance(entry, tuple) else entry for entry in stack.values()]
    return str(names[-1]) if names else ""


def call_of(node: Node, module: nn.Module | None = None) -> str:
    """A call as errors show it: what is called, and where."""
    if module is not None:
        return f"{node.target} ({type(module).__name__})"
    return f"{function_name(node)}() in {owner(node) or 'forward'}, as {node.name}"


def function_name(node: Node) -> str:
    """Name of the function or method that a node calls."""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "?")


def module_of(gm: GraphModule, node: Node) -> nn.Module | None:
    """The module that a node calls, if it calls one."""
    return gm.get_submodule(str(node.target)) if node.op == "call_module" else None


def attribute(gm: GraphModule, node: Node) -> Tensor | None:
    """The parameter, buffer or constant that a node reads, if it reads one."""
    if node.op != "get_attr":
        return None
    parent, _, name = str(node.target).rpartition(".")
    value = getattr(gm.get_submodule(parent), name)
    return value if isinstance(value, Tensor) else None


def unique_name(gm: GraphModule, wanted: str) -> str:
    """``wanted``, or the first of ``wanted_1``, ``wanted_2``, … that is free."""
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


def has_own(net: nn.Module, module: nn.Module, name: str) -> bool:
    """Whether the module holds this parameter itself and shares it with no other."""
    own = own_parameter(module, name)
    users = [m for m in net.modules() if any(p is own for p in m.parameters(recurse=False))]
    return own is not None and len(users) == 1
