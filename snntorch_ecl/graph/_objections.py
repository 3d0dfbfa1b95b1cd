"""Why a call cannot run in a converted network, and what can be seen only when it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from ._arguments import operands, reached_value, sizes_read
from ._checks import COUNTS, MIXES, ROUNDS, misaligned
from ._ndims import keeps_dims, module_of, ndims
from ._operations import operation_of
from ._rules import Dims, padded_dims
from ._values import activations, is_size

_PADS = (
    *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d),
    *(nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d),
)


class Known:
    """What is known of a graph: its activations, and how many dimensions they have."""

    def __init__(self, gm: GraphModule) -> None:
        self.gm = gm
        self.live = activations(gm)
        self.ndims = ndims(gm)
        self.origins: dict[Node, Node] = {}  # of as many dimensions, whatever their number
        for node in gm.graph.nodes:
            self.origins[node] = self._origin(node)

    def _origin(self, node: Node) -> Node:
        sources = [source for source in node.all_input_nodes if source in self.live]
        found = {self.origins[source] for source in sources}
        elementwise = node.op.startswith("call_f") or node.op == "call_method"
        same = elementwise and operation_of(node).broadcasts == 0
        keeps = node in self.live and len(found) == 1 and (same or keeps_dims(self.gm, node))
        return found.pop() if keeps else node


@dataclass(frozen=True)
class Reached:
    """Dimensions that a call works along.

    Attributes:
        value: Whose dimensions they are.
        dims: As they are written; None: all of them.
        extra: How many more there are than the value has.
        why: Why 0 must not be among them.
    """

    value: Node
    dims: Dims | None
    extra: int = 0
    why: str = MIXES

    def is_batch(self, known: Known) -> bool:
        """Whether dimension 0 is known to be among them."""
        return self.dims is None or any(self._settled(dim, known) == 0 for dim in self.dims)

    def unsettled(self, known: Known) -> Dims:
        """Those that nobody knows yet."""
        return tuple(dim for dim in self.dims or () if self._settled(dim, known) is None)

    def _settled(self, dim: Any, known: Known) -> int | None:
        if not isinstance(dim, int) or dim >= 0:
            return dim if isinstance(dim, int) else None
        from_start = dim + known.ndims.get(self.value, 1) + self.extra  # the batch's there is
        return max(0, from_start) if self.value in known.ndims or from_start > 0 else None


def reached(node: Node, known: Known) -> Iterator[Reached]:
    """All dimensions that matter to a call that reads activations."""
    value = reached_value(node, known.live)
    if value is None:
        return
    module = module_of(known.gm, node)
    if module is not None:
        yield Reached(value, _layer_dims(module))
        return
    operation = operation_of(node)
    yield Reached(value, operation.reach(node, known.live), operation.extra)
    if not operation.reshapes:
        for size in (a for a in operands(node) if isinstance(a, Node) and is_size(a)):
            for tensor, dim in sizes_read(size):
                yield Reached(tensor, None if dim is None else (dim,), why=COUNTS)


def _layer_dims(module: nn.Module) -> Dims:
    """The dimensions that a layer works along, where they depend on its settings."""
    if isinstance(module, nn.Flatten):
        return (module.start_dim,)
    if isinstance(module, nn.Unflatten) and isinstance(module.dim, int):
        return (module.dim,)
    if isinstance(module, (nn.PixelShuffle, nn.PixelUnshuffle)):
        return (-3,)
    return padded_dims(tuple(module.padding)) if isinstance(module, _PADS) else ()


@dataclass(frozen=True)
class Operand:
    """Something that broadcasting lays over an activation.

    Attributes:
        value: The activation.
        other: What is laid over it.
        inner: How many of its last dimensions are not broadcast.
        kind: Another ``activation``; ``fixed``; or ``sized``, computed from sizes.
    """

    value: Node
    other: Node
    inner: int
    kind: str

    def misfit(self, known: Known) -> str | None:
        """Why it is known not to fit."""
        ndim, tensor = known.ndims.get(self.value), _tensor(known.gm, self.other)
        if ndim is not None and tensor is not None:
            return misaligned(ndim, tensor, self.inner, self.kind)
        if ndim is not None and self.other in known.ndims:
            stand_in = torch.empty([1] * known.ndims[self.other])
            return misaligned(ndim, stand_in, self.inner, self.kind)
        return None

    def unsettled(self, known: Known) -> bool:
        """Whether nobody knows yet."""
        if known.origins[self.value] is known.origins[self.other]:
            return False
        tensor = _tensor(known.gm, self.other)
        if tensor is not None and tensor.dim() <= self.inner:
            return False
        other_known = tensor is not None or self.other in known.ndims
        return not (self.value in known.ndims and other_known)


def laid_over(node: Node, known: Known) -> Iterator[Operand]:
    """What a call broadcasts together with an activation."""
    value, inner = reached_value(node, known.live), operation_of(node).broadcasts
    if value is None or inner is None or node.op == "call_module":
        return
    for other in operands(node):
        if isinstance(other, Node) and other is not value and not is_size(other):
            sized = "sized" if _is_sized(other) else "fixed"
            yield Operand(value, other, inner, "activation" if other in known.live else sized)


def _is_sized(node: Node) -> bool:
    """Whether a value is made from a size, at any distance."""
    todo, seen = [node], {node}
    while todo:
        for source in todo.pop().all_input_nodes:
            if is_size(source):
                return True
            if source not in seen:  # graphs branch and meet: each node once
                seen.add(source)
                todo.append(source)
    return False


def _tensor(gm: GraphModule, node: Node) -> Tensor | None:
    """The parameter or buffer that a node reads."""
    if node.op != "get_attr":
        return None
    parent, _, name = str(node.target).rpartition(".")
    value = getattr(gm.get_submodule(parent), name)
    return value if isinstance(value, Tensor) else None


def takes_a_dtype(node: Node) -> bool:
    """Whether a call is told by another tensor which dtype to give."""
    dtypes = [a for a in operands(node)[1:] if isinstance(a, Node)]
    asked = [a for a in dtypes if a.target is getattr and a.args[1] == "dtype"]
    return bool(asked) or (node.target == "to" and bool(dtypes))


def objection(node: Node, known: Known) -> str | None:
    """Why a call cannot run in a converted network; None if it can, as far as is known."""
    if node not in known.live:
        return None
    if node.op != "call_module":
        rule = operation_of(node).rule
        if rule is None:
            return "it is not known to be affine in the activations"
        if "out" in node.kwargs:
            return "it overwrites another tensor (out=)"
        if any(_is_integer(value) for value in operands(node)):
            return ROUNDS
        if (why := rule(node, known.live)) is not None:
            return why
    reasons = [r.why for r in reached(node, known) if r.is_batch(known)]
    reasons += [why for o in laid_over(node, known) if (why := o.misfit(known)) is not None]
    return reasons[0] if reasons else None


def _is_integer(value: Any) -> bool:
    """Whether an argument is a dtype that holds no fractions."""
    return isinstance(value, torch.dtype) and not (value.is_floating_point or value.is_complex)
