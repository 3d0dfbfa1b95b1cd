"""Replace in-place operations by operations that return a new tensor."""

from __future__ import annotations

import operator

from torch.fx import GraphModule, Node

from ..errors import UnsupportedError
from ._aliases import aliases
from ._names import function_name, owner
from ._operations import OUT_OF_PLACE
from ._parts import whole_of, with_part, write_to_function
from ._shapes import sizes_of
from ._values import is_size


def functionalise(gm: GraphModule) -> GraphModule:
    """Replace in-place operations by their counterparts; refuse those where that is not possible.

    Whatever reads the overwritten tensor *afterwards* then reads the new one, so a shortcut from
    the input of ``nn.ReLU(inplace=True)`` still gets the rectified values.
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
    return gm


def _reroute(gm: GraphModule, write: Node, overwritten: Node) -> list[str]:
    """Make later readers of the overwritten tensor read the new one; list those that cannot.

    If it is a part of another, that one is overwritten too.
    """
    position = {node: index for index, node in enumerate(gm.graph.nodes)}
    for alias in aliases(gm, overwritten)[0]:
        for reader in list(alias.users):
            if position[reader] > position[write]:
                reader.replace_input_with(alias, write)
    if (whole := whole_of(overwritten)) is not None:
        with gm.graph.inserting_after(write):
            args = (whole, overwritten.args[1], write)
            written = gm.graph.call_function(with_part, args)
        written.meta = {**write.meta, "sizes": sizes_of(whole)}
        return _reroute(gm, written, whole)
    same, views = aliases(gm, overwritten)
    return [
        f"{write.name} in {owner(write) or 'forward'}: it overwrites a tensor that "
        f"{reader.name} reads later through a view"
        for view in views
        for reader in view.users
        if position[reader] > position[write] and reader not in same and reader not in views
    ]


def _overwrites(node: Node) -> bool:
    """Whether a call that is not in the table overwrites its input, judged by its name."""
    if node.op not in ("call_function", "call_method") or not node.all_input_nodes:
        return False
    if node.target in (operator.ifloordiv, operator.ipow, operator.imod):
        return not is_size(node.all_input_nodes[0])
    name = function_name(node)
    return name.endswith("_") and not name.endswith("__")


def _rewrite(node: Node) -> bool:
    """Make a function or method call out-of-place; return whether it was in-place."""
    if write_to_function(node):
        return True
    if node.op in ("call_function", "call_method") and node.target in OUT_OF_PLACE:
        node.target = OUT_OF_PLACE[node.target]
    elif node.op == "call_function" and node.kwargs.get("inplace") is True:
        node.kwargs = {**node.kwargs, "inplace": False}
    else:
        return False
    return True
