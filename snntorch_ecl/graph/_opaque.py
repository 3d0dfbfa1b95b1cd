"""What tracing cannot see into by itself: hidden calls, constants, layers without weights."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node, Proxy
from torch.nn.parameter import is_lazy

from ..errors import TraceError
from ._arguments import flat
from ._shapes import counts_batch

# Their functions are in the table of operations, or are the package's own.
_KNOWN = {"torch", "snntorch_ecl", "snntorch", "operator", "_operator", "builtins"}
# torch's own parsers of these arguments take no recorded value: they refuse it, or crash.
_UNPARSED = (
    *("zeros", "ones", "empty", "full", "rand", "randn", "where", "pow"),
    *("tensor", "as_tensor", "asarray"),
)
_TURN = threading.RLock()  # one recording at a time replaces torch's functions
_FILLED = ("new_zeros", "new_ones", "new_full", "new_empty")


def refuse_lazy(model: nn.Module) -> None:
    """Refuse layers that do not know their shapes yet."""
    lazy = [n for n, m in model.named_modules() if any(map(is_lazy, m.parameters(recurse=False)))]
    if lazy:
        raise TraceError(
            f"{type(model).__name__} has layers that have no weights yet ({', '.join(lazy)}): run "
            "one batch through it first"
        )


def is_wrapped(kind: str, target: Any) -> bool:
    """Whether a call is of a Python function that ``torch.fx.wrap`` hides, as in torchvision."""
    if kind != "call_function" or not isinstance(target, FunctionType):
        return False
    return target.__module__.split(".")[0] not in _KNOWN


def unmarked(graph: Graph) -> Graph:
    """Without fx's mark of hidden calls, which it puts on whatever such a call has returned."""
    for node in graph.nodes:
        if not is_wrapped(node.op, node.target):
            node.meta.pop("is_wrapped", None)
    return graph


def filled(node: Node, value: Any, device: torch.device) -> Tensor | None:
    """``x.new_zeros(sizes)`` as a tensor, where no size is the batch's: then it is a constant."""
    constant = node.op == "call_method" and node.target in _FILLED and isinstance(value, Tensor)
    if not constant or any(map(counts_batch, value.shape)):
        return None
    if any(isinstance(a, (Node, Proxy)) for a in node.args[1:]):
        return None
    like = torch.empty(0, dtype=value.dtype, device=device)
    made: Tensor = getattr(like, str(node.target))(*node.args[1:], **node.kwargs)
    return made


@contextmanager
def taking_recorded_values() -> Iterator[None]:
    """Let some functions of torch take recorded values, which their own parsers do not.

    Afterwards they are what they were, also where somebody had replaced them. Threads take turns.
    """
    with _TURN:
        before = {name: getattr(torch, name) for name in _UNPARSED}
        try:
            for name, function in before.items():
                # In a recording within another, the function itself.
                setattr(torch, name, _recording(getattr(function, "recorded_by_ecl", function)))
            yield
        finally:
            for name, function in before.items():
                setattr(torch, name, function)


def _recording(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is recorded if a recorded value is among its arguments."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        values = [*flat([*args, *kwargs.values()])]
        recorded = next((value for value in values if isinstance(value, Proxy)), None)
        if recorded is None:
            return function(*args, **kwargs)
        return recorded.tracer.create_proxy("call_function", function, args, kwargs)

    call.recorded_by_ecl = function  # type: ignore[attr-defined]
    return call
