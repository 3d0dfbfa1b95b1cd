"""Checks are put into a graph where it does not tell what an operation does to dimension 0."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn
from torch.fx import GraphModule, Node

from ._checks import CHECKS, Check, check_dims, check_floating, check_operand
from ._names import call_of
from ._ndims import module_of
from ._objections import Known, laid_over, reached, takes_a_dtype
from ._trace import finish


def insert_checks(gm: GraphModule, own: Collection[type[nn.Module]] = ()) -> GraphModule:
    """Let operations that may reach dimension 0 be checked when the network runs.

    Args:
        gm: A graph of modules, ours to change; checks that it has already are made anew.
        own: Types of layers for which the user has a handler: these know what they do.

    Returns:
        The same graph module.
    """
    for node in list(gm.graph.nodes):
        if node.target in CHECKS:
            gm.graph.erase_node(node)
    known = Known(gm)
    for node in list(gm.graph.nodes):
        module = module_of(gm, node)
        if node in known.live and node.op.startswith("call_") and type(module) not in own:
            _check(node, known)
    return finish(gm)


def _check(node: Node, known: Known) -> None:
    call = call_of(node, module_of(known.gm, node))
    for r in reached(node, known):
        if dims := r.unsettled(known):
            _insert(node, check_dims, (r.value, dims, r.extra, f"{call}: {r.why}"))
    for o in laid_over(node, known):
        if o.unsettled(known):
            _insert(node, check_operand, (o.value, o.other, o.inner, o.kind, call))
    if node.op != "call_module" and takes_a_dtype(node):
        with node.graph.inserting_after(node):
            node.graph.call_function(check_floating, (node, call))


def _insert(node: Node, check: Check, args: tuple[Any, ...]) -> None:
    with node.graph.inserting_before(node):
        node.graph.call_function(check, args)
