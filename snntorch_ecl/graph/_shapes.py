"""Follow the shape of every value while a network is traced, on tensors that hold no numbers."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import snntorch
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import Graph, Node

from .._util.torch_internals import FakeTensors, UnknownShape
from ..nn._threshold_clip import ThresholdClip
from ._example import BATCH

UNKNOWN = object()
_SAME_SHAPE = (ThresholdClip, snntorch.SpikingNeuron)
_CONSTANTS = (bool, int, float, str)


class ShapeError(Exception):
    """A call that does not work on the example's shapes."""


class Shapes:
    """The value of each node, as tensors without numbers whose batch has the size ``BATCH``.

    Attributes:
        fixed: Whether a size, other than the batch's, was read as a number.
        running: Whether a call is being tried; nothing must be recorded meanwhile.
    """

    def __init__(self, root: nn.Module, device: torch.device) -> None:
        self._root, self._device = root, device
        self._tensors = FakeTensors()
        self._values: dict[Node, Any] = {}
        self.fixed = self.running = False

    def begin(self, node: Node, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Enter an input."""
        self._values[node] = self._tensors.empty(shape, dtype, self._device)

    def value(self, node: Node) -> Any:
        """What is known of a node's value; ``UNKNOWN`` if nothing is."""
        if node not in self._values and node.op == "get_attr":
            self._values[node] = self._attribute(str(node.target))
        return self._values.get(node, UNKNOWN)

    def follow(self, node: Node) -> Any:
        """Try a call that was just recorded; returns its value."""
        if any(self.value(source) is UNKNOWN for source in node.all_input_nodes):
            return UNKNOWN
        if node.op in ("placeholder", "output", "get_attr"):
            return self.value(node)
        args = _filled(node.args, self.value)
        kwargs = _filled(node.kwargs, self.value)
        try:
            with self._trying(), self._tensors, torch.no_grad():
                self._values[node] = self._call(node, args, kwargs)
        except UnknownShape:
            pass
        except Exception as error:
            if node.op != "call_module":  # a layer may do what it likes
                raise ShapeError(str(error).replace(str(BATCH), "B")) from error
        return self.value(node)

    def is_constant(self, node: Node, value: Any) -> bool:
        """Whether a value is a number, or the like, that is the same for every batch."""
        if not isinstance(value, _CONSTANTS):
            return False
        if any(isinstance(self.value(n), (int, float)) for n in node.all_input_nodes):
            return False  # computed from the batch's size: other sizes are no nodes
        return not counts_batch(value)

    @contextmanager
    def _trying(self) -> Iterator[None]:
        before, self.running = self.running, True
        try:
            yield
        finally:
            self.running = before

    def _call(self, node: Node, args: Any, kwargs: Any) -> Any:
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        if node.op == "call_function":
            assert callable(node.target)
            found = node.target(*args, **kwargs)
            return args[0] if node.target is operator.setitem else found
        module = self._root.get_submodule(str(node.target))
        if isinstance(module, _SAME_SHAPE):
            return args[0]
        return self._call_layer(module, args, kwargs)

    def _call_layer(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Run a layer without its hooks, in eval mode, with weights that hold no numbers."""
        bare = _Bare(module)
        state = {**dict(bare.named_parameters()), **dict(bare.named_buffers())}
        fakes = {name: self._tensors.like(tensor) for name, tensor in state.items()}
        modes = [(m, m.training) for m in module.modules()]
        module.eval()
        try:
            return functional_call(bare, fakes, args, kwargs)
        finally:
            for m, training in modes:
                m.training = training

    def _attribute(self, name: str) -> Any:
        parent, _, leaf = name.rpartition(".")
        with self._trying():
            value = getattr(self._root.get_submodule(parent), leaf)
        return self._tensors.like(value) if isinstance(value, Tensor) else value

    def write(self, graph: Graph) -> None:
        """Store the shape of each tensor in its node, and whether it is a tuple of several."""
        for node in graph.nodes:
            value = self.value(node)
            if isinstance(value, Tensor):
                node.meta["sizes"] = tuple(value.shape)
            node.meta["parts"] = isinstance(value, (tuple, list, dict))


class _Bare(nn.Module):
    """Runs a layer without its hooks."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer.forward(*args, **kwargs)


def _filled(values: Any, value: Any) -> Any:
    """Arguments with each node's value in its place."""
    return torch.fx.node.map_aggregate(values, lambda a: value(a) if isinstance(a, Node) else a)


def counts_batch(size: Any) -> bool:
    """Whether a size is that of the batch, or a multiple of it."""
    return isinstance(size, int) and size != 0 and size % BATCH == 0


def sizes_of(node: Node) -> tuple[int, ...] | None:
    """The shape of a node's tensor, if the network was traced with an example."""
    found: tuple[int, ...] | None = node.meta.get("sizes")
    return found


def batch_dims(sizes: tuple[int, ...]) -> list[int]:
    """The dimensions that count the batch."""
    return [place for place, size in enumerate(sizes) if counts_batch(size)]
