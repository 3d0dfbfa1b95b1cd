"""Find everything in a graph that cannot convert, and report it in one error."""

from __future__ import annotations

from torch.fx import GraphModule

from ..errors import UnsupportedError
from ._affinity import is_not_affine
from ._names import call_of, module_of
from ._objections import GraphFacts, objection
from ._rectifiers import clip_for
from ._registry import Handlers, handler_for, has_own_handler
from ._values import is_size


def unsupported(
    gm: GraphModule, handlers: Handlers | None, *, rectifiers_too: bool
) -> dict[str, str | None]:
    """Each place that cannot convert, with the type to register, or None for a function."""
    found: dict[str, str | None] = {}
    facts = GraphFacts(gm)
    live = facts.live
    for node in gm.graph.nodes:
        if node.op == "output":
            for source in node.all_input_nodes:
                if source not in live and not is_size(source):
                    found[
                        f"{source.name}, returned by forward: it does not depend on the input, "
                        "and outputs are averaged over time; read it from the network instead"
                    ] = None
        elif node in live and (module := module_of(gm, node)) is not None:
            if handler_for(type(module), handlers) is not None:
                own = type(module) in (handlers or {})
                if not own and (why := objection(node, facts)) is not None:
                    found[f"{call_of(node, module)}: {why}"] = None
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
                found[f"{call_of(node)}: {why}"] = None
    return found


def refuse(found: dict[str, str | None]) -> None:
    """Raise one :class:`UnsupportedError` that lists every place; do nothing if there is none."""
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
    raise UnsupportedError(found, remedy + ".")
