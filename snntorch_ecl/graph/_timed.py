"""What runs behind a neuron, and what of it is carried over time though it is not affine."""

from __future__ import annotations

import snntorch
from torch.fx import GraphModule, Node

from ..nn._temporal import Temporal
from ._names import module_of
from ._operations import operation_of
from ._rectifiers import clip_for
from ._registry import Handlers, is_stateful
from ._rules import NotAffine
from ._shapes import batch_dims, sizes_of


def behind_neurons(gm: GraphModule, handlers: Handlers | None = None) -> set[Node]:
    """Layers that will have state, and all that depends on them: the rest sees a constant."""
    found: set[Node] = set()
    for node in gm.graph.nodes:
        module = module_of(gm, node)
        if any(source in found for source in node.all_input_nodes) or (
            module is not None
            and (
                clip_for(module, levels=None, per_channel=False) is not None
                or isinstance(module, (snntorch.SpikingNeuron, Temporal))
                or is_stateful(module, handlers)
            )
        ):
            found.add(node)
    return found


def is_carried_call(node: Node, live: set[Node]) -> bool:
    """Whether a functional call is not affine, but can be carried."""
    if node.op not in ("call_function", "call_method"):
        return False
    operation = operation_of(node)
    if not operation.carried or operation.rule is None:
        return False
    return isinstance(operation.rule(node, live), NotAffine)


def streams_of(node: Node, live: set[Node]) -> list[Node]:
    """The values that a call reads and that have a row for each image."""
    return [n for n in node.all_input_nodes if n in live or batch_dims(sizes_of(n) or ())]
