"""Insert corrections of single time steps into a network, and find them there."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.fx import GraphModule

from ..graph._names import module_of, unique_name
from ..nn._step_bias import StepBias


def insert_step_biases(net: GraphModule, biases: Mapping[str, Tensor]) -> GraphModule:
    """Insert a :class:`~snntorch_ecl.nn.StepBias` ``[T, C]`` before each named neuron."""
    for node in list(net.graph.nodes):
        if node.op != "call_module" or node.target not in biases:
            continue
        name = unique_name(net, f"{node.target}_step_bias")
        net.add_submodule(name, StepBias(biases[node.target]))
        with net.graph.inserting_before(node):
            corrected = net.graph.call_module(name, (node.args[0],), dict(node.kwargs))
        node.args = (corrected, *node.args[1:])
        node.kwargs = {**node.kwargs, "held": 1}  # the step bias has unfolded a held current
    return net


def step_biases(net: GraphModule) -> dict[str, list[int]]:
    """The neurons that have a :class:`~snntorch_ecl.nn.StepBias`, and its shape ``[T, C]``."""
    found = {}
    for node in net.graph.nodes:
        module = module_of(net, node)
        if isinstance(module, StepBias):
            found[str(next(iter(node.users)).target)] = list(module.bias.shape)
    return found
