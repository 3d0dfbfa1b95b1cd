"""How many dimensions the values of a graph have, as far as its layers tell.

Channels are dimension 1, but ``nn.Linear`` acts on the last dimension, and ``nn.AvgPool2d`` takes
``[B, C, L]`` for one image of B channels: whether they treat channels one by one depends on that.
"""

from __future__ import annotations

import operator

import torch
from torch import nn
from torch.fx import GraphModule, Node

from .neuron import DualThreshold
from .pool import SignedMaxPool

__all__ = ["CONVOLUTIONS", "EACH_CHANNEL", "OVER_PLACES", "flattens", "module_of", "ranks"]

CONVOLUTIONS: dict[type, int] = {
    nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3,
    nn.ConvTranspose1d: 1, nn.ConvTranspose2d: 2, nn.ConvTranspose3d: 3,
}  # fmt: skip
"""Convolutions, by the number of dimensions behind the channels."""

OVER_PLACES: dict[type, int] = {
    nn.AvgPool1d: 1, nn.AvgPool2d: 2, nn.AvgPool3d: 3,
    nn.AdaptiveAvgPool1d: 1, nn.AdaptiveAvgPool2d: 2, nn.AdaptiveAvgPool3d: 3,
    nn.MaxPool1d: 1, nn.MaxPool2d: 2, nn.MaxPool3d: 3,
    nn.AdaptiveMaxPool1d: 1, nn.AdaptiveMaxPool2d: 2, nn.AdaptiveMaxPool3d: 3,
    nn.ZeroPad1d: 1, nn.ZeroPad2d: 2, nn.ZeroPad3d: 3,
}  # fmt: skip
"""Layers that scale with each channel if that many dimensions lie behind the channels."""

EACH_CHANNEL: set[type] = {
    nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d,
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
}  # fmt: skip
"""Layers that scale with each channel, however many dimensions there are."""

_NORMS: dict[type, int] = {nn.BatchNorm2d: 2, nn.BatchNorm3d: 3}
_TELL = {**CONVOLUTIONS, **_NORMS}
_KEEP = {*OVER_PLACES, *EACH_CHANNEL, nn.Linear, nn.BatchNorm1d, DualThreshold, SignedMaxPool}
_COMBINE = {operator.add, operator.sub, torch.add, torch.sub, torch.cat}


def ranks(gm: GraphModule) -> dict[Node, int]:
    """Numbers of dimensions, that of the batch included; nodes that nothing tells are left out.

    Args:
        gm: The graph.

    Example:
        >>> graph = torch.fx.symbolic_trace(nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten()))
        >>> list(ranks(graph).values())
        [3, 2]
    """
    found: dict[Node, int] = {}
    for node in gm.graph.nodes:
        kind = type(module_of(gm, node))
        if kind in _TELL:
            found[node] = _TELL[kind] + 2
        elif flattens(gm, node):
            found[node] = 2
        elif kind in _KEEP or (node.op == "call_function" and node.target in _COMBINE):
            sources = [found.get(source) for source in node.all_input_nodes]
            if sources and sources[0] is not None and len(set(sources)) == 1:
                found[node] = sources[0]
    return found


def flattens(gm: GraphModule, node: Node) -> bool:
    """Whether a node makes ``[B, N]`` of ``[B, ...]``."""
    module = module_of(gm, node)
    if type(module) is nn.Flatten:
        return (module.start_dim, module.end_dim) == (1, -1)
    if node.op == "placeholder" or node.target not in (torch.flatten, "flatten"):
        return False
    given = dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False))
    dims = {"start_dim": 0, "end_dim": -1, **given, **node.kwargs}
    return (dims["start_dim"], dims["end_dim"]) == (1, -1)


def module_of(gm: GraphModule, node: Node) -> nn.Module | None:
    """The module that a node calls, if it calls one."""
    return gm.get_submodule(str(node.target)) if node.op == "call_module" else None
