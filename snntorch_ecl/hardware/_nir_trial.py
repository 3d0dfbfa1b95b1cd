"""One step of a network that was read from NIR, on zeros: what does not fit together is named."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from ..errors import EclError, InputError
from ..nn import DualThreshold


def check_fits(net: GraphModule, graph: Any, names: dict[str, str], inputs: list[str]) -> None:
    """:class:`InputError` where the shapes of the NIR graph contradict each other.

    Args:
        net: One step of the network, without time.
        graph: The NIR graph.
        names: Names in ``net``, by the graph's.
        inputs: The graph's inputs, in order.
    """
    shapes = [_shape(graph.nodes[name].input_type.get("input")) for name in inputs]
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return  # the graph does not say what it takes
    given = {safe: name for name, safe in names.items()}
    with torch.no_grad():
        _Trial(copy.deepcopy(net), graph, given).run(*(torch.zeros(1, *shape) for shape in known))


class _Trial(Interpreter):
    """Runs node by node; an error is told with the graph's name of the node."""

    def __init__(self, net: GraphModule, graph: Any, given: dict[str, str]) -> None:
        super().__init__(net)
        self.graph_read, self.given = graph, given

    def run_node(self, n: Node) -> Any:
        try:
            return super().run_node(n)
        except (EclError, RuntimeError, ValueError) as error:
            if isinstance(error, InputError) and str(error).startswith("the NIR graph"):
                raise
            args = [self.env[arg] for arg in n.all_input_nodes]
            shapes = " and ".join(str(list(x.shape[1:])) for x in args if isinstance(x, Tensor))
            reader = n if n.op == "call_module" else next(iter(n.users), n)
            where = self.given.get(str(reader.target), str(reader.target))
            what = "cannot take" if reader is n else "is given values that cannot be added:"
            raise InputError(
                f"the NIR graph does not fit together: {where} {what} {shapes} "
                f"({str(error).splitlines()[0]})"
            ) from error

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = self.fetch_attr(target)
        name = self.given.get(str(target))
        if name is not None and isinstance(module, DualThreshold):
            _check_thresholds(name, self.graph_read.nodes[name], args[0])
        return super().call_module(target, args, kwargs)


def _check_thresholds(name: str, node: Any, current: Tensor) -> None:
    """As many thresholds as neurons, or as channels, or one."""
    wanted, found = list(current.shape[1:]), list(node.v_threshold.shape)
    if node.v_threshold.size > 1 and found not in (wanted, wanted[:1]):
        raise InputError(
            f"the NIR graph does not fit together: {name} has thresholds of shape {found}, and its "
            f"input has {wanted}"
        )


def _shape(declared: Any) -> tuple[int, ...] | None:
    """A sample's shape; None where it is not known."""
    return None if declared is None else tuple(int(size) for size in declared)
