"""Find everything in a graph that cannot convert, and report it in one error."""

from __future__ import annotations

from torch.fx import GraphModule, Node

from ..errors import UnsupportedError
from ._affinity import is_not_affine
from ._checks import ALIGNS, COUNTS, FIXES, MIXES, NEEDS_SHAPES
from ._followed import ELSEWHERE
from ._names import call_of, module_of
from ._objections import GraphFacts, objection
from ._outputs import is_named_tuple, returned
from ._rectifiers import clip_for
from ._registry import Handlers, handler_for, has_own_handler
from ._shapes import batch_dims, sizes_of
from ._values import is_size


def unsupported(
    gm: GraphModule, handlers: Handlers | None, *, rectifiers_too: bool
) -> dict[str, str | None]:
    """Each place that cannot convert, with the type to register, or None for a function."""
    found: dict[str, str | None] = {}
    facts = GraphFacts(gm, handlers)
    live = facts.live
    for node in gm.graph.nodes:
        if node.op == "output":
            for source in returned(gm):
                if (why := _not_an_output(source, live)) is not None:
                    found[f"{source.name}, returned by forward: {why}{_line(source)}"] = None
        elif is_named_tuple(node):
            continue
        elif node in live and (module := module_of(gm, node)) is not None:
            if handler_for(type(module), handlers) is not None:
                own = type(module) in (handlers or {})
                if not own and (why := objection(node, facts)) is not None:
                    found[f"{call_of(node, module)}: {why}{_line(node)}"] = None
                if not has_own_handler(type(module), handlers) and is_not_affine(module):
                    found[
                        f"{node.target} ({type(module).__name__}): its forward is not affine, "
                        "as that of the layer it descends from is"
                    ] = type(module).__name__
                continue
            rectifier = clip_for(module, levels=None, per_channel=False) is not None
            if rectifier and not rectifiers_too:
                continue
            why = ": not a ThresholdClip; call ecl.prepare first" if rectifier else ""
            found[f"{node.target} ({type(module).__name__}){why}"] = type(module).__name__
        elif node.op in ("call_function", "call_method"):
            why = objection(node, facts) or ""
            if why:
                found[f"{call_of(node)}: {why}{_line(node)}"] = None
    return found


def _line(node: Node) -> str:
    """The line of the network's code that made a call, in brackets."""
    line = node.meta.get("line")
    return f" ({line})" if line else ""


def _not_an_output(node: Node, live: set[Node]) -> str | None:
    """Why a value cannot be returned; None if it can."""
    if node not in live and not is_size(node):
        return (
            "it does not depend on the input, and outputs are averaged over time; read it from "
            "the network instead"
        )
    sizes = sizes_of(node)
    return ELSEWHERE if sizes is not None and batch_dims(sizes) != [0] else None


def refuse(found: dict[str, str | None], *, has_example: bool = True) -> None:
    """Raise one :class:`UnsupportedError` that lists every place; do nothing if there is none.

    Without an example, say so where one could settle it.
    """
    if not found:
        return
    kinds = sorted({kind for kind in found.values() if kind})
    remedy = "Replace them by layers that convert (ReLU, convolution, linear, pooling, …)"
    if kinds:
        lines = "\n".join(f"    ecl.register({kind})(handler)" for kind in kinds)
        remedy += (
            f", or tell how they convert:\n{lines}\n"
            "where handler(module, site) returns a spiking layer, or is ecl.keep for a layer that "
            "is affine in its input"
        )
    settles = (MIXES, COUNTS, ALIGNS, FIXES, NEEDS_SHAPES, "batch size", "indexing with tensors")
    if not has_example and any(why in place for place in found for why in settles):
        remedy += (
            ". What concerns dimension 0, sizes or indices may be settled by shapes: "
            "ecl.prepare(model, example=images)"
        )
    raise UnsupportedError(found, remedy + ".")
