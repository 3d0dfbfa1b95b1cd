"""How many dimensions the values of a graph have, where its layers tell.

Channels are dimension 1, but ``nn.Linear`` acts on the last dimension, and ``nn.AvgPool2d`` takes
``[B, C, L]`` for one image of B channels: whether they treat channels one by one depends on that.
"""

from __future__ import annotations

import operator

import torch
from torch import nn
from torch.fx import GraphModule, Node

from ._names import module_of
from ._registry import kind_of

_COMBINE = {operator.add, operator.sub, torch.add, torch.sub, torch.cat}
_RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.Hardtanh)  # before they become clips


def ndims(gm: GraphModule) -> dict[Node, int]:
    """Number of dimensions of each node's value, with the batch's; unknown ones are left out.

    Example:
        >>> graph = torch.fx.symbolic_trace(nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten()))
        >>> list(ndims(graph).values())
        [3, 2]
    """
    found: dict[Node, int] = {}
    for node in gm.graph.nodes:
        kind = kind_of(module_of(gm, node))
        if kind.fixed_dims and kind.dims is not None:
            found[node] = kind.dims + 2
        elif flattens(gm, node):
            found[node] = 2
        elif keeps_dims(gm, node):
            sources = [found.get(source) for source in node.all_input_nodes]
            if sources and sources[0] is not None and len(set(sources)) == 1:
                found[node] = sources[0]
    return found


def keeps_dims(gm: GraphModule, node: Node) -> bool:
    """Whether a node's output has as many dimensions as its inputs."""
    module = module_of(gm, node)
    if module is None:
        return node.op == "call_function" and node.target in _COMBINE
    return isinstance(module, _RECTIFIERS) or kind_of(module).keeps_dims


def flattens(gm: GraphModule, node: Node) -> bool:
    """Whether a node turns ``[B, ...]`` into ``[B, N]``."""
    module = module_of(gm, node)
    if type(module) is nn.Flatten:
        return (module.start_dim, module.end_dim) == (1, -1)
    if node.op == "placeholder" or node.target not in (torch.flatten, "flatten"):
        return False
    given = dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False))
    dims = {"start_dim": 0, "end_dim": -1, **given, **node.kwargs}
    return (dims["start_dim"], dims["end_dim"]) == (1, -1)
