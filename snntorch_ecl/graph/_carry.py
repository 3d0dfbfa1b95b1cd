"""Put a ``Difference`` in place of each functional call that is not affine, behind a neuron."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.fx import GraphModule, Node

from ..nn._difference import Difference
from ._arguments import argument
from ._names import function_name, owner, unique_name
from ._operations import operation_of
from ._timed import behind_neurons, is_carried_call, streams_of
from ._values import activations

_QUOTIENTS = ("div", "truediv", "true_divide")
_MAXIMA = ("amax", "amin", "maximum", "minimum")  # f(a · x) = a · f(x) for a > 0


def quotient(value: Any, other: Tensor) -> Tensor:
    """A quotient that is 0 where the divisor is 0, as it may be before any neuron has spiked."""
    zero = other == 0
    result: Tensor = value / other.masked_fill(zero, 1)
    return result.masked_fill(zero, 0)


class Call:
    """A functional call, as a function of the values that it reads.

    Attributes:
        only_reads: It does not work in place: graphs are functional by then.
        floats: Floating-point operations for each value of its result.
        equation: The first argument, where that is a text, as of ``einsum``.
    """

    only_reads = True

    def __init__(self, node: Node, inputs: list[Node]) -> None:
        self.name = function_name(node)
        self.floats = operation_of(node).floats
        self.equation = next((a for a in node.args[:1] if isinstance(a, str)), None)
        self._target = quotient if self.name in _QUOTIENTS else node.target
        places = {source: _Place(index) for index, source in enumerate(inputs)}
        args, kwargs = node.args, node.kwargs
        if self._target is quotient:  # where the divisor is a number, it is not carried
            args, kwargs = (argument(node, 0, "input"), argument(node, 1, "other")), {}
        self._args = _filled(args, places)
        self._kwargs = _filled(kwargs, places)

    def __call__(self, *values: Any) -> Any:
        """Call it with these values in their places."""
        args, kwargs = _put(self._args, values), _put(self._kwargs, values)
        if isinstance(self._target, str):
            return getattr(args[0], self._target)(*args[1:], **kwargs)
        return self._target(*args, **kwargs)

    def __repr__(self) -> str:
        return self.name


class _Place(int):
    """Stands for the value at this place."""


def _filled(arguments: Any, places: dict[Node, _Place]) -> Any:
    """Plain tuples, lists and dicts with a place for each node."""
    if isinstance(arguments, Node):
        return places[arguments]
    if isinstance(arguments, (tuple, list)):
        return type(arguments)([_filled(a, places) for a in arguments])
    if isinstance(arguments, dict):
        return {name: _filled(a, places) for name, a in arguments.items()}
    return arguments


def _put(arguments: Any, values: tuple[Any, ...]) -> Any:
    if isinstance(arguments, _Place):
        return values[arguments]
    if isinstance(arguments, (tuple, list)):
        return type(arguments)([_put(a, values) for a in arguments])
    if isinstance(arguments, dict):
        return {name: _put(a, values) for name, a in arguments.items()}
    return arguments


def carry_calls(gm: GraphModule) -> GraphModule:
    """Replace the calls; weights that they read are passed to the ``Difference`` as constants."""
    live, timed = activations(gm), behind_neurons(gm)
    for node in list(gm.graph.nodes):
        if node not in timed or node not in live or not is_carried_call(node, live):
            continue
        streams = streams_of(node, live)
        inputs = [*streams, *(n for n in node.all_input_nodes if n not in streams)]
        call = Call(node, inputs)
        layer = Difference(call, streams=len(streams), homogeneous=call.name in _MAXIMA)
        name = unique_name(gm, f"{owner(node)}.{call.name}".lstrip("."))
        layer.qualified_name = name
        gm.add_submodule(name, layer.train(gm.training))
        with gm.graph.inserting_before(node):
            made = gm.graph.call_module(name, tuple(inputs))
        made.meta = dict(node.meta)
        live.add(made)
        node.replace_all_uses_with(made)
        gm.graph.erase_node(node)
    return gm
