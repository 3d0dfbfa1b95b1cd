"""Insert the time axis into a converted graph.

The graph gets two more inputs, ``num_steps`` and ``held``. Its *stem*, everything before the
first layer with state, sees the same input at every step and runs once on ``[B, ...]``; the
*body* runs on ``[T·B, ...]``. For input that changes over time ``held`` is 1 and the whole graph
runs on ``[T·B, ...]``. The layout is time-major; see ``nn/_temporal.py``.
"""

from __future__ import annotations

from torch.fx import GraphModule, Node

from ..graph._names import module_of, unique_name
from ..graph._shapes import batch_dims, sizes_of
from ..graph._values import activations
from ..nn._stepwise import Hold
from ..nn._temporal import Temporal


def insert_time(gm: GraphModule) -> GraphModule:
    """Rewrite ``gm(*inputs)`` to ``gm(*inputs, num_steps, held)`` on time-major batches."""
    _free_names(gm)
    live = activations(gm)
    first = next(node for node in gm.graph.nodes if node.op != "placeholder")
    with gm.graph.inserting_before(first):
        num_steps = gm.graph.placeholder("num_steps")
        held = gm.graph.placeholder("held")

    body: set[Node] = set()
    lift = _Lifter(gm, live, held)
    for node in list(gm.graph.nodes):
        temporal = isinstance(module_of(gm, node), Temporal)
        follows = any(source in body for source in node.all_input_nodes)
        if temporal:
            node.kwargs = {"num_steps": num_steps, "held": 1 if follows else held}
        if follows or node.op == "output":
            for source in node.all_input_nodes:
                if source not in body and source not in (num_steps, held):
                    node.replace_input_with(source, lift(source, before=node))
        if temporal or follows:
            body.add(node)
    gm.graph.eliminate_dead_code()
    return gm


def _free_names(gm: GraphModule) -> None:
    """Rename inputs called ``num_steps`` or ``held``; inputs are passed by position anyway."""
    for node in list(gm.graph.nodes):
        if node.op == "placeholder" and node.target in ("num_steps", "held"):
            with gm.graph.inserting_before(node):
                renamed = gm.graph.placeholder(f"{node.target}_input")
            node.replace_all_uses_with(renamed)
            gm.graph.erase_node(node)


class _Lifter:
    """Brings values of the stem into the body: repeats tensors, recomputes sizes from these."""

    def __init__(self, gm: GraphModule, live: set[Node], held: Node) -> None:
        self.gm, self.live, self.held = gm, live, held
        self.lifted: dict[Node, Node] = {}

    def __call__(self, source: Node, *, before: Node) -> Node:
        if source in self.lifted:
            return self.lifted[source]
        graph = self.gm.graph
        if source in self.live:
            name = unique_name(self.gm, "hold")
            sizes = sizes_of(source)
            self.gm.add_submodule(name, Hold(batch_dims(sizes)[0] if sizes else 0))
            with graph.inserting_before(before):
                self.lifted[source] = graph.call_module(name, (source, self.held))
            return self.lifted[source]
        inner = {node: self(node, before=before) for node in source.all_input_nodes}
        if all(node is lifted for node, lifted in inner.items()):
            return source  # a parameter or a constant, or computed from these
        with graph.inserting_before(before):
            self.lifted[source] = graph.node_copy(source, lambda node: inner[node])
        return self.lifted[source]
