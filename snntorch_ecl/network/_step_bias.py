"""Corrections of single time steps: put into a network, and found in it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.fx import GraphModule

from ..graph._names import unique_name
from ..graph._trace import finish
from ..nn._step_bias import StepBias


def insert_step_biases(net: GraphModule, biases: Mapping[str, Tensor]) -> GraphModule:
    """Put a :class:`~snntorch_ecl.nn.StepBias` ``[T, C]`` ahead of the neurons that are named."""
    for node in list(net.graph.nodes):
        if node.op != "call_module" or node.target not in biases:
            continue
        name = unique_name(net, f"{node.target}_step_bias")
        net.add_submodule(name, StepBias(biases[node.target]))
        with net.graph.inserting_before(node):
            corrected = net.graph.call_module(name, (node.args[0],), dict(node.kwargs))
        node.args = (corrected, *node.args[1:])
        node.kwargs = {**node.kwargs, "held": 1}  # what was held is unfolded by now
    return finish(net)


def step_biases(net: GraphModule) -> dict[str, list[int]]:
    """Which neurons have a :class:`~snntorch_ecl.nn.StepBias`, and of which shape ``[T, C]``."""
    found = {}
    for node in net.graph.nodes:
        if node.op == "call_module":
            module = net.get_submodule(str(node.target))
            if isinstance(module, StepBias):
                found[str(next(iter(node.users)).target)] = list(module.bias.shape)
    return found
