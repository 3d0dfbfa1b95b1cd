"""Find the layer before a neuron that can be corrected without affecting anything else."""

from __future__ import annotations

import operator

import torch
from torch import nn
from torch.fx import GraphModule, Node

from ..graph._names import has_own, module_of
from ..graph._values import is_idle, is_size
from ..nn._stepwise import Hold

_ADDITIONS = (operator.add, operator.iadd, torch.add)


def layer_before(net: GraphModule, neuron: str | None) -> nn.Module | None:
    """The layer whose output is added to a neuron's current (None: to the network's output).

    It must run once, feed nothing else and hold a bias that it does not share; None if there is
    no such layer.
    """
    calls = [node.target for node in net.graph.nodes if node.op == "call_module"]
    end = next(n for n in net.graph.nodes if _is_end(n, neuron))
    waiting = [end.args[0]]
    while waiting:
        node = waiting.pop()
        # A value that is also read elsewhere would carry the correction there.
        if not isinstance(node, Node) or sum(not is_size(user) for user in node.users) != 1:
            continue
        if node.op == "call_function" and node.target in _ADDITIONS and not node.kwargs:
            waiting += [source for source in node.args if isinstance(source, Node)]
        elif (module := module_of(net, node)) is not None:
            if is_idle(module) or isinstance(module, Hold):
                waiting.append(node.args[0])
            elif calls.count(node.target) == 1 and has_own(net, module, "bias"):
                return module
    return None


def _is_end(node: Node, neuron: str | None) -> bool:
    # Not by name alone: a layer may be called "output", and an input like a layer.
    if neuron is None:
        return node.op == "output"
    return node.op == "call_module" and node.target == neuron
