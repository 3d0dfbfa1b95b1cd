"""Questions about the calls of a converted graph, for those who lower it to a chip."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from ..errors import UnsupportedError
from ..graph._names import call_of, function_name, module_of
from ..graph._ndims import ndims
from ..graph._operations import operation_of
from ..graph._registry import kind_of
from ..graph._values import activations
from ..nn import DualThreshold, Scale, SignedMaxPool
from ..nn._stepwise import Hold

_POOLS = {f"{kind}avg_pool{d}d" for kind in ("", "adaptive_") for d in (1, 2, 3)}
_AVERAGES = {"mean", "interpolate", *_POOLS}
_JOINS = {"cat", "concat", "concatenate"}
Norm = nn.modules.batchnorm._BatchNorm


class Facts:
    """What the calls of a graph with time inserted are."""

    def __init__(self, net: GraphModule) -> None:
        self.net = net
        *self.inputs, steps, held = (n for n in net.graph.nodes if n.op == "placeholder")
        self.time = (steps, held)
        self.live = activations(net) - {steps, held}
        self._ndims = _ndims(net)

    def ndim(self, node: Node) -> int | None:
        """Number of dimensions of a value, where layers tell it."""
        return self._ndims.get(node.name)

    def flat(self, node: Node) -> bool:
        """Whether a value is ``[B, C]``: layers tell it, or a neuron that takes nothing else."""
        known, module = self.ndim(node), self.module(node)
        if known is not None:
            return known == 2
        if isinstance(module, DualThreshold):
            return bool(module.threshold.numel() > 1)
        keeps = self.what(node) == "joins" or isinstance(module, Scale) or self.passes(node)
        return keeps and any(map(self.flat, self.sources(node)))

    def module(self, node: Node) -> nn.Module | None:
        """The layer that a node calls."""
        return module_of(self.net, node)

    def sources(self, node: Node) -> list[Node]:
        """The activations that a call reads."""
        return [n for n in node.all_input_nodes if n in self.live]

    def only(self, node: Node) -> Node:
        """The one activation that a call reads."""
        found = self.sources(node)
        if len(found) != 1:
            raise self.refusal(node, f"it reads {len(found)} values", "It must read one.")
        return found[0]

    def has_weights(self, node: Node) -> bool:
        """Whether it calls a linear layer or a convolution."""
        module = self.module(node)
        return module is not None and kind_of(module).scale == "weight"

    def adds(self, node: Node) -> bool:
        """Whether it adds or subtracts."""
        return node.op != "call_module" and function_name(node) in ("add", "sub")

    def what(self, node: Node) -> str | None:
        """``keeps``, ``averages`` or ``joins`` values; None if it does none of these."""
        module = self.module(node)
        if module is not None:
            return kind_of(_pool(module)).whole
        if node.op not in ("call_function", "call_method"):
            return None
        name = function_name(node)
        if name in _JOINS:
            return "joins"
        if name in _AVERAGES:
            return "averages"
        # Padding with anything but zeros adds a constant.
        constant = node.kwargs.get("value") or (name == "pad" and (*node.args, 0, 0, 0)[3])
        free = operation_of(node).free and name not in ("stack", "getattr", "with_part")
        return "keeps" if free and not constant else None

    def passes(self, node: Node) -> bool:
        """Whether a factor by channel passes a layer."""
        kind = kind_of(_pool(self.module(node)))
        if kind.scale != "passes":
            return False
        return kind.dims is None or self.ndim(self.only(node)) == kind.dims + 2

    def factor(self, node: Node) -> tuple[Tensor, Tensor | None] | None:
        """Factor and bias by channel of a scale, a batch norm or a multiplication by a number."""
        module, name = self.module(node), function_name(node)
        if isinstance(module, Scale):
            return module.scale.detach().double().cpu(), None
        if isinstance(module, Norm):
            state = {k: v.detach().double().cpu() for k, v in module.state_dict().items()}
            weight = (state["running_var"] + module.eps).rsqrt() * state.get("weight", 1.0)
            return weight, state.get("bias", 0.0) - state["running_mean"] * weight
        numbers = [a for a in node.args if isinstance(a, (int, float))]
        if node.op not in ("call_function", "call_method") or (len(numbers), len(node.args)) != (
            1,
            2,
        ):
            return None
        value = torch.tensor(float(numbers[0]), dtype=torch.float64)
        if name == "mul":
            return value, None
        if name in ("div", "truediv", "true_divide") and isinstance(node.args[0], Node):
            return 1 / value, None
        return None

    def channels(self, node: Node) -> int | None:
        """The number of channels of a value, where a layer tells it."""
        module = self.module(node)
        for name in ("out_channels", "out_features", "num_features"):
            if hasattr(module, name):
                return int(getattr(module, name))
        same = isinstance(module, (DualThreshold, Scale)) or self.adds(node)
        sources = self.sources(node)
        return self.channels(sources[0]) if same or (sources and self.passes(node)) else None

    def refusal(self, node: Node, why: str, remedy: str) -> UnsupportedError:
        """The error for a call that has no counterpart."""
        return UnsupportedError([f"{call_of(node, self.module(node))}: {why}"], remedy)


def _pool(module: nn.Module | None) -> nn.Module | None:
    return module.pool if isinstance(module, SignedMaxPool) else module


def _ndims(net: GraphModule) -> dict[str, int]:
    """Numbers of dimensions by the nodes' names, as if no time were inserted."""
    twin = GraphModule(net, copy.deepcopy(net.graph))
    for node in twin.graph.nodes:
        if "num_steps" in node.kwargs:
            node.kwargs = {}
        elif isinstance(module_of(twin, node), Hold):
            node.args = node.args[:1]
    return {node.name: count for node, count in ndims(twin).items()}
