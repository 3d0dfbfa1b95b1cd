"""The shapes of a graph's values, and which of them are zero."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node


class Shapes(Interpreter):
    """Runs a graph once and records the shape of each value, without the batch."""

    def __init__(self, net: GraphModule) -> None:
        super().__init__(net)
        self.extra_traceback = False
        self.shapes: dict[Node, tuple[int, ...]] = {}
        self.zeros: set[Node] = set()  # values that are all zero

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n] = tuple(value.shape[1:])
            self.zeros |= set() if bool(value.any()) else {n}
        return value
