"""Put clips where linear maps and matrix products read, so that spikes drive every one of them.

The rule: a clip belongs before every weighted map, and before every operand of a matrix product,
whose value has bent (passed a function that is not affine) or been mapped since the last clip.
"""

from __future__ import annotations

from torch import nn
from torch.fx import GraphModule, Node

from .._util.devices import device_of
from ..nn._slope import Slope
from ..nn._threshold_clip import ThresholdClip
from ._arguments import operands
from ._names import function_name, module_of, owner, unique_name
from ._operations import moves_values, operation_of
from ._rectifiers import clip_for
from ._registry import kind_of
from ._rules import weighted
from ._shapes import batch_dims, sizes_of
from ._timed import is_carried_call
from ._values import activations, is_idle

_PRODUCTS = {"matmul", "bmm", "einsum"}


def clip_operands(gm: GraphModule, *, levels: int | None, per_channel: bool) -> GraphModule:
    """Insert the clips: signed ones, except where a value cannot be below 0."""
    live, device = activations(gm), device_of(gm)
    raw: set[Node] = set()
    clips: dict[Node, Node] = {}
    for node in list(gm.graph.nodes):
        if node not in live or node.op == "placeholder":
            continue
        if _is_clip(module_of(gm, node)):
            continue
        read = _operands_to_clip(gm, node, live)
        if read or _bends(gm, node, live) or any(n in raw for n in node.all_input_nodes):
            raw.add(node)
        for value in dict.fromkeys(value for value in read if value in raw):
            if value not in clips:
                clip = ThresholdClip(
                    levels, per_channel=per_channel, signed=not _from_zero(gm, value)
                )
                clips[value] = _inserted(gm, value, node, clip.to(device))
            node.replace_input_with(value, clips[value])
    return gm


def _is_clip(module: nn.Module | None) -> bool:
    if module is None:
        return False
    rectifier = clip_for(module, levels=None, per_channel=False) is not None
    return rectifier or (kind_of(module).stateful and not kind_of(module).whole)


def _is_map(module: nn.Module | None) -> bool:
    """Whether a layer sums its input with weights; a slope only scales it."""
    if module is None or isinstance(module, Slope) or kind_of(module).cost != "synapses":
        return False
    return any(True for _ in module.parameters())


def _operands_to_clip(gm: GraphModule, node: Node, live: set[Node]) -> list[Node]:
    """The activations that a weighted map or a matrix product reads."""
    module = module_of(gm, node)
    if module is not None:
        reads = _is_map(module)
    elif node.op in ("call_function", "call_method"):
        reads = operation_of(node).rule is weighted or (
            function_name(node) in _PRODUCTS and operation_of(node).rule is not None
        )
    else:
        reads = False
    found = [a for a in operands(node) if isinstance(a, Node) and a in live] if reads else []
    # A neuron's rows are the batch's: elsewhere there can be none.
    return [n for n in found if sizes_of(n) is None or batch_dims(sizes_of(n) or ()) == [0]]


def _bends(gm: GraphModule, node: Node, live: set[Node]) -> bool:
    module = module_of(gm, node)
    return is_carried_call(node, live) if module is None else kind_of(module).carried


def _from_zero(gm: GraphModule, value: Node) -> bool:
    """Whether a value cannot be below 0, as a softmax."""
    while True:
        module = module_of(gm, value)
        moved = is_idle(module) if module is not None else moves_values(value)
        if not moved or not isinstance(value.args[0], Node):
            break
        value = value.args[0]
    if module is not None:
        return kind_of(module).from_zero
    return value.op in ("call_function", "call_method") and operation_of(value).from_zero


def _inserted(gm: GraphModule, value: Node, reader: Node, clip: ThresholdClip) -> Node:
    """A call of a clip on a value, named after what reads it first."""
    name = str(reader.target)
    if reader.op != "call_module":
        name = f"{owner(reader)}.{function_name(reader)}".lstrip(".")
        if reader.args[:1] == (value,):
            name += "_left"
        elif reader.args[1:2] == (value,):
            name += "_right"
    name = unique_name(gm, f"{name}_clip")
    clip.qualified_name = name
    gm.add_submodule(name, clip.train(gm.training))
    with gm.graph.inserting_after(value):
        call = gm.graph.call_module(name, (value,))
    call.meta = dict(value.meta)
    return call
