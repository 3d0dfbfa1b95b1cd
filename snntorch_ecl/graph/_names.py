"""Names of modules in a graph, and who else uses what they hold."""

from __future__ import annotations

from torch import nn
from torch.fx import GraphModule, Node

from .._util.torch_internals import own_parameter


def owner(node: Node) -> str:
    """Qualified name of the module whose code made the call; empty at the top level."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [entry[0] if isinstance(entry, tuple) else entry for entry in stack.values()]
    return str(names[-1]) if names else ""


def call_of(node: Node, module: nn.Module | None = None) -> str:
    """A call as errors name it: what is called, and where."""
    if module is not None:
        return f"{node.target} ({type(module).__name__})"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "?")
    return f"{name}() in {owner(node) or 'forward'}, as {node.name}"


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


def has_own(net: nn.Module, module: nn.Module, name: str) -> bool:
    """Whether a module has a parameter of a name that no other module shares, nor computes.

    Args:
        net: The network.
        module: A module of it.
        name: ``weight`` or ``bias``.
    """
    own = own_parameter(module, name)
    users = [m for m in net.modules() if any(p is own for p in m.parameters(recurse=False))]
    return own is not None and len(users) == 1
