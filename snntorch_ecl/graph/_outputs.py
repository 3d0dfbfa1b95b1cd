"""What the network returns: tensors in dicts, tuples, named tuples and dataclasses."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

from torch.fx import GraphModule, Node


def is_named_tuple(node: Node) -> bool:
    """Whether a node makes a named tuple, as fx records one that is returned."""
    kind = node.target
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def dataclasses_to_dicts(gm: GraphModule) -> GraphModule:
    """Return dicts in place of dataclasses, which no average over time could look into.

    Fields that are None are left out, as in the outputs of Hugging Face's networks.
    """
    output = next(node for node in gm.graph.nodes if node.op == "output")
    made = [n for n in output.all_input_nodes if isinstance(n.target, type)]
    plain = {n: _fields(n) for n in made if is_dataclass(n.target)}
    if not plain:
        return gm
    output.args = _replaced(output.args, plain)
    for node in plain:
        gm.graph.erase_node(node)
    return gm


def _fields(node: Node) -> dict[str, Any]:
    return {name: value for name, value in node.kwargs.items() if value is not None}


def _replaced(value: Any, plain: dict[Node, dict[str, Any]]) -> Any:
    if isinstance(value, Node):
        return plain.get(value, value)
    if isinstance(value, dict):
        return {key: _replaced(item, plain) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_replaced(item, plain) for item in value)
    return value


def returned(gm: GraphModule) -> list[Node]:
    """The values that the network returns, also those in named tuples."""
    output = next(node for node in gm.graph.nodes if node.op == "output")
    found: list[Node] = []
    for node in output.all_input_nodes:
        found += node.all_input_nodes if is_named_tuple(node) else [node]
    return found
