"""Why a call cannot run in a converted network, and what only a run can tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node

from ._arguments import first_activation, operands, sizes_read
from ._checks import COUNTS, MIXES, ROUNDS, misaligned
from ._followed import in_front, indexed_dims, lost_batch, misplaced, torn_rows
from ._names import attribute, function_name, module_of
from ._ndims import keeps_dims, ndims
from ._operations import operation_of
from ._registry import Handlers
from ._rules import Dims, NotAffine, NotCarried, is_part, padded_dims
from ._shapes import batch_dims, sizes_of
from ._timed import behind_neurons, is_carried_call, streams_of
from ._values import activations, is_size

_PADS = (
    *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d),
    *(nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d),
)


class GraphFacts:
    """What is known of a graph: its activations, and how many dimensions they have."""

    def __init__(self, gm: GraphModule, handlers: Handlers | None = None) -> None:
        self.gm = gm
        self.live = activations(gm)
        self.timed = behind_neurons(gm, handlers)
        self.ndims = ndims(gm)
        self.ndims.update({n: len(s) for n in gm.graph.nodes if (s := sizes_of(n)) is not None})
        # An earlier value with as many dimensions, even where their number is not known.
        self.origins: dict[Node, Node] = {}
        for node in gm.graph.nodes:
            self.origins[node] = self._origin(node)

    def batch(self, node: Node) -> int:
        """The dimension of a value that counts the batch's rows."""
        found = batch_dims(sizes_of(node) or ())
        return found[0] if found else 0

    def _origin(self, node: Node) -> Node:
        sources = [source for source in node.all_input_nodes if source in self.live]
        found = {self.origins[source] for source in sources}
        elementwise = node.op.startswith("call_f") or node.op == "call_method"
        same = elementwise and operation_of(node).broadcasts == 0
        keeps = node in self.live and len(found) == 1 and (same or keeps_dims(self.gm, node))
        return found.pop() if keeps else node


@dataclass(frozen=True)
class UsedDims:
    """Dimensions that a call works along.

    Attributes:
        value: The value whose dimensions they are.
        dims: The dimensions, as they are written in the call; None means all.
        extra: How many dimensions the result has more than the value.
        why: Why dimension 0 must not be among them.
    """

    value: Node
    dims: Dims | None
    extra: int = 0
    why: str = MIXES

    def is_batch(self, facts: GraphFacts) -> bool:
        """Whether the batch's dimension is known to be among them."""
        batch = facts.batch(self.value)
        return self.dims is None or any(self._settled(dim, facts) == batch for dim in self.dims)

    def unsettled(self, facts: GraphFacts) -> Dims:
        """Dimensions that are known only when the network runs."""
        return tuple(dim for dim in self.dims or () if self._settled(dim, facts) is None)

    def _settled(self, dim: Any, facts: GraphFacts) -> int | None:
        if not isinstance(dim, int) or dim >= 0:
            return dim if isinstance(dim, int) else None
        # A value whose number of dimensions is not known has at least the batch's.
        from_start = dim + facts.ndims.get(self.value, 1) + self.extra
        return max(0, from_start) if self.value in facts.ndims or from_start > 0 else None


def used_dims(node: Node, facts: GraphFacts) -> Iterator[UsedDims]:
    """All dimensions that a call uses: those it works along, and those whose sizes it reads."""
    value = first_activation(node, facts.live)
    if value is None:
        return
    module = module_of(facts.gm, node)
    if module is not None:
        reshapes = isinstance(module, (nn.Flatten, nn.Unflatten)) and sizes_of(value) is not None
        yield UsedDims(value, () if reshapes else _layer_dims(module))
        return
    operation = operation_of(node)
    yield UsedDims(value, _call_dims(node, value, facts), operation.extra)
    if not operation.reshapes:
        for size in (a for a in operands(node) if isinstance(a, Node) and is_size(a)):
            for tensor, dim in sizes_read(size):
                yield UsedDims(tensor, None if dim is None else (dim,), why=COUNTS)


def _call_dims(node: Node, value: Node, facts: GraphFacts) -> Dims | None:
    """The dimensions that a functional call works along; None means all."""
    operation, sizes = operation_of(node), sizes_of(value)
    if sizes is None:
        return operation.reach(node, facts.live)
    if operation.layout is not None:  # where the batch goes is known
        return ()
    if function_name(node) == "getitem" and not is_part(node):
        return indexed_dims(node.args[1], len(sizes))
    return operation.reach(node, facts.live)


def _layer_dims(module: nn.Module) -> Dims | None:
    """The dimensions that a layer works along, where its settings say so; None means all."""
    if isinstance(module, (nn.Softmax, nn.LogSoftmax, nn.GLU)):
        return None if module.dim is None else (module.dim,)
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return (-len(module.normalized_shape),)
    if isinstance(module, nn.Flatten):
        return (module.start_dim,)
    if isinstance(module, nn.Unflatten) and isinstance(module.dim, int):
        return (module.dim,)
    if isinstance(module, (nn.PixelShuffle, nn.PixelUnshuffle)):
        return (-3,)
    return padded_dims(tuple(module.padding)) if isinstance(module, _PADS) else ()


@dataclass(frozen=True)
class Operand:
    """A value that is broadcast together with an activation.

    Attributes:
        value: The activation.
        other: The other value.
        inner: How many of the last dimensions are not broadcast.
        kind: What the other value is: an ``activation``, ``fixed``, or ``sized`` (computed from
            sizes).
    """

    value: Node
    other: Node
    inner: int
    kind: str

    def misfit(self, facts: GraphFacts) -> str | None:
        """Why the shapes do not fit; None if they do, or if that is not known."""
        if sizes_of(self.value) is not None:
            return None  # the shape of the result tells
        ndim, tensor = facts.ndims.get(self.value), attribute(facts.gm, self.other)
        if ndim is not None and tensor is not None:
            return misaligned(ndim, tensor, self.inner, self.kind)
        if ndim is not None and self.other in facts.ndims:
            stand_in = torch.empty([1] * facts.ndims[self.other])
            return misaligned(ndim, stand_in, self.inner, self.kind)
        return None

    def unsettled(self, facts: GraphFacts) -> bool:
        """Whether only a run can tell if the shapes fit."""
        if sizes_of(self.value) is not None:
            return False
        if facts.origins[self.value] is facts.origins[self.other]:
            return False
        tensor = attribute(facts.gm, self.other)
        if tensor is not None and tensor.dim() <= self.inner:
            return False
        is_other_known = tensor is not None or self.other in facts.ndims
        return not (self.value in facts.ndims and is_other_known)


def broadcast_operands(node: Node, facts: GraphFacts) -> Iterator[Operand]:
    """The values that a call broadcasts together with an activation."""
    value, inner = first_activation(node, facts.live), operation_of(node).broadcasts
    if value is None or inner is None or node.op == "call_module":
        return
    for other in operands(node):
        if isinstance(other, Node) and other is not value and not is_size(other):
            sized = "sized" if _is_sized(other) else "fixed"
            yield Operand(value, other, inner, "activation" if other in facts.live else sized)


def _is_sized(node: Node) -> bool:
    """Whether a value is computed from a size, directly or not."""
    todo, seen = [node], {node}
    while todo:
        for source in todo.pop().all_input_nodes:
            if is_size(source):
                return True
            if source not in seen:  # branches may join again: visit each node once
                seen.add(source)
                todo.append(source)
    return False


def takes_a_dtype(node: Node) -> bool:
    """Whether a call takes the dtype of its result from another tensor."""
    dtypes = [a for a in operands(node)[1:] if isinstance(a, Node)]
    asked = [a for a in dtypes if a.target is getattr and a.args[1] == "dtype"]
    return bool(asked) or (node.target in ("to", "type_as") and bool(dtypes))


def objection(node: Node, facts: GraphFacts) -> str | None:
    """Why a call cannot run in a converted network; None if it can, as far as is known."""
    if node not in facts.live:
        return None
    if node.op != "call_module":
        rule = operation_of(node).rule
        if rule is None:
            return "it is not known to be affine in the activations"
        if node.kwargs.get("out") is not None:
            return "it overwrites another tensor (out=)"
        if any(_is_integer(value) for value in operands(node)):
            return ROUNDS
        why = rule(node, facts.live)
        if why is not None and not (isinstance(why, NotAffine) and _harmless(node, why, facts)):
            return why
    if (why := _unfollowed(node, facts)) is not None:
        return why
    reasons = [r.why for r in used_dims(node, facts) if r.is_batch(facts)]
    reasons += [
        why for o in broadcast_operands(node, facts) if (why := o.misfit(facts)) is not None
    ]
    return reasons[0] if reasons else None


def _harmless(node: Node, why: str, facts: GraphFacts) -> bool:
    """Whether a call that is not affine may stand: before all neurons, or carried."""
    carried = operation_of(node).carried and not isinstance(why, NotCarried)
    return node not in facts.timed or carried


def _unfollowed(node: Node, facts: GraphFacts) -> str | None:
    """Why the batch's rows do not stay together, where shapes are known."""
    value = first_activation(node, facts.live)
    if value is None or sizes_of(value) is None:
        return None
    if (why := lost_batch(node)) is not None:
        return why
    module = module_of(facts.gm, node)
    if module is not None and (why := misplaced(node, module, value)) is not None:
        return why
    if node in facts.timed and is_carried_call(node, facts.live):
        return next((why for n in streams_of(node, facts.live) if (why := in_front(n))), None)
    reshapes = isinstance(module, (nn.Flatten, nn.Unflatten))
    if reshapes or (module is None and operation_of(node).layout == "rows"):
        return torn_rows(node, value)
    return None


def _is_integer(value: Any) -> bool:
    """Whether an argument is a dtype of integers or booleans."""
    return isinstance(value, torch.dtype) and not (value.is_floating_point or value.is_complex)
