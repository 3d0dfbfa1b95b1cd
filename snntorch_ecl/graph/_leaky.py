"""Write leaky rectifiers as two: ``leaky(x) = relu(x) − slope · relu(−x)``, both of which spike."""

from __future__ import annotations

import operator

from torch import nn
from torch.fx import GraphModule, Node

from ..nn._slope import Slope
from ._names import module_of, unique_name
from ._values import activations


def expand_leaky(gm: GraphModule) -> GraphModule:
    """Replace each LeakyReLU and PReLU by two rectifiers, ``…_positive`` and ``…_negative``."""
    live = activations(gm)
    calls = [(node, module_of(gm, node)) for node in gm.graph.nodes if node in live]
    for node, module in calls:
        if type(module) is nn.LeakyReLU:
            _expand(gm, node, module.negative_slope)
        elif type(module) is nn.PReLU:
            _to_slope(gm, str(node.target), module)
            _expand(gm, node, str(node.target))
    return gm


def _to_slope(gm: GraphModule, name: str, module: nn.PReLU) -> None:
    """Keep the weight under its name, in a layer that only multiplies by it."""
    gm.add_submodule(name, Slope(module.weight).train(module.training))


def _expand(gm: GraphModule, node: Node, slope: float | str) -> None:
    name, source = str(node.target), node.args[0]
    with gm.graph.inserting_before(node):
        positive = _rectifier(gm, f"{name}_positive", source)
        minus = gm.graph.call_function(operator.neg, (source,))
        negative = _rectifier(gm, f"{name}_negative", minus)
        if isinstance(slope, str):
            scaled = gm.graph.call_module(slope, (negative,))
        else:
            scaled = gm.graph.call_function(operator.mul, (negative, slope))
        result = gm.graph.call_function(operator.sub, (positive, scaled))
    for made in (positive, minus, negative, scaled, result):
        made.meta = dict(node.meta)
    node.replace_all_uses_with(result)
    gm.graph.erase_node(node)


def _rectifier(gm: GraphModule, wanted: str, source: object) -> Node:
    name = unique_name(gm, wanted)
    gm.add_submodule(name, nn.ReLU().train(gm.training))
    return gm.graph.call_module(name, (source,))  # type: ignore[arg-type]
