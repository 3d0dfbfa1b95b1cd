"""Write fused attention as what it computes: two matrix products with a softmax between."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from .._util.devices import device_of
from ._arguments import argument
from ._names import attribute, function_name, owner, unique_name
from ._operations import operation_of
from ._shapes import sizes_of
from ._values import activations


def expand_attention(gm: GraphModule) -> GraphModule:
    """Expand each ``F.scaled_dot_product_attention`` with no live mask and no grouped heads."""
    live = activations(gm)
    for node in list(gm.graph.nodes):
        fused = node.op == "call_function" and operation_of(node).rule is not None
        if not fused or function_name(node) != "scaled_dot_product_attention" or node not in live:
            continue
        settings = _settings(gm, node, live)
        if settings is not None:
            with gm.graph.inserting_before(node):
                node.replace_all_uses_with(_expanded(gm, node, *settings))
            gm.graph.erase_node(node)
    return gm


def _settings(gm: GraphModule, node: Node, live: set[Node]) -> tuple[Any, Any] | None:
    """The mask to add, and the scale; None where the call must stay as it is."""
    mask = argument(node, 3, "attn_mask")
    causal = argument(node, 5, "is_causal", default=False)
    scale, grouped = argument(node, 6, "scale"), argument(node, 7, "enable_gqa", default=False)
    query, key = (sizes_of(node.args[place]) for place in (0, 1))  # type: ignore[arg-type]
    if scale is None and query is not None:
        scale = 1 / math.sqrt(query[-1])
    if grouped or scale is None or len(node.args) < 3:
        return None
    if isinstance(mask, Node):
        known = attribute(gm, mask)
        if mask in live or known is None or known.dtype == torch.bool:
            return None
    elif isinstance(mask, Tensor):
        return None
    if causal:
        if query is None or key is None:
            return None
        # Finite, as a file's values must be.
        lowest = torch.finfo(torch.float32).min
        mask = torch.full((query[-2], key[-2]), lowest, device=device_of(gm)).triu(1)
    return mask, scale


def _expanded(gm: GraphModule, node: Node, mask: Any, scale: float) -> Node:
    query, key, value = node.args[:3]
    graph, place = gm.graph, owner(node)
    sizes = [sizes_of(source) for source in (query, key, value)]  # type: ignore[arg-type]
    known = not any(shape is None for shape in sizes)
    q, k, v = (shape or () for shape in sizes) if known else ((0, 0), (0, 0), (0, 0))
    rows = (*q[:-1], k[-2])  # a weight for each query and key

    def made(new: Node, shape: tuple[int, ...]) -> Node:
        new.meta = {**node.meta, "parts": False, "sizes": shape if known else None}
        return new

    def layer(kind: str, module: nn.Module, source: Node) -> Node:
        name = unique_name(gm, f"{place}.{kind}".lstrip("."))
        gm.add_submodule(name, module.train(gm.training))
        return made(graph.call_module(name, (source,)), rows)

    scaled = made(graph.call_function(operator.mul, (query, scale)), q)
    turned = made(graph.call_method("transpose", (key, -2, -1)), (*k[:-2], k[-1], k[-2]))
    scores = made(graph.call_function(torch.matmul, (scaled, turned)), rows)
    if mask is not None:
        if isinstance(mask, Tensor):
            name = unique_name(gm, f"{place}.causal_mask".lstrip("."))
            parent, _, leaf = name.rpartition(".")
            gm.get_submodule(parent).register_buffer(leaf, mask)
            mask = graph.get_attr(name)
        scores = made(graph.call_function(operator.add, (scores, mask)), rows)
    weights = layer("softmax", nn.Softmax(-1), scores)
    dropout = argument(node, 4, "dropout_p", default=0.0)
    if isinstance(dropout, float) and dropout > 0:
        weights = layer("dropout", nn.Dropout(dropout), weights)
    return made(graph.call_function(torch.matmul, (weights, value)), (*q[:-1], v[-1]))
