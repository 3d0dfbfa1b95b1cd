"""Insert runtime checks where the graph does not tell what an operation does to dimension 0."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn
from torch.fx import GraphModule, Node

from ._checks import CHECKS, Check, check_dims, check_floating, check_input, check_operand
from ._names import call_of, module_of
from ._objections import GraphFacts, broadcast_operands, takes_a_dtype, used_dims


def insert_checks(gm: GraphModule, own: Collection[type[nn.Module]] = ()) -> GraphModule:
    """Insert a check at each operation that may reach dimension 0; replace earlier checks.

    Layers whose types are in ``own``, for which the user has given a handler, are not checked.
    """
    for node in list(gm.graph.nodes):
        if node.target in CHECKS and node.target is not check_input:
            gm.graph.erase_node(node)
    facts = GraphFacts(gm)
    for node in list(gm.graph.nodes):
        module = module_of(gm, node)
        if node in facts.live and node.op.startswith("call_") and type(module) not in own:
            _check(node, facts)
    return gm


def _check(node: Node, facts: GraphFacts) -> None:
    call = call_of(node, module_of(facts.gm, node))
    for r in used_dims(node, facts):
        if dims := r.unsettled(facts):
            _insert(node, check_dims, (r.value, dims, r.extra, f"{call}: {r.why}"))
    for o in broadcast_operands(node, facts):
        if o.unsettled(facts):
            _insert(node, check_operand, (o.value, o.other, o.inner, o.kind, call))
    if node.op != "call_module" and takes_a_dtype(node):
        with node.graph.inserting_after(node):
            node.graph.call_function(check_floating, (node, call))


def _insert(node: Node, check: Check, args: tuple[Any, ...]) -> None:
    with node.graph.inserting_before(node):
        node.graph.call_function(check, args)
