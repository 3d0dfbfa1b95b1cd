"""``torch.compile`` for single loops and whole networks, and whether it works on a device."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import torch

from .torch_internals import recompile_limit

# A loop is compiled once for each combination of: steps in a piece, rank, type, fresh or not,
# sizes that are 1.
_COMPILATIONS = 64


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors, compiled on first use for all shapes and many kinds of input.

    Dynamo's default limit is 8 kinds; beyond it, it falls back to plain code without a warning.
    """
    compile_: Any = torch.compile
    if "recompile_limit" in inspect.signature(compile_).parameters:
        own: Callable[..., Any] = compile_(function, dynamic=True, recompile_limit=_COMPILATIONS)
        return own
    plain = compile_(function, dynamic=True)

    def with_room(*args: Any) -> Any:
        with recompile_limit(_COMPILATIONS):
            return plain(*args)

    return with_room


def compiled_whole(function: Callable[..., Any], mode: str | None) -> Callable[..., Any]:
    """A function compiled to one graph; where that is not possible, its first call raises.

    With CUDA graphs, what it returns is overwritten by its next call.
    """
    run: Callable[..., Any] = torch.compile(function, fullgraph=True, mode=mode)
    if mode is None or not torch.cuda.is_available():
        return run

    def next_step(*args: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return run(*args)

    return next_step


@functools.cache
def works_on(device: str) -> bool:
    """Whether code can be compiled for a type of device (``"cpu"``): tried once; warns if not."""
    try:
        with torch.no_grad():
            compiled(_probe)(torch.zeros(2, device=device))
    except Exception as error:  # whatever the compiler's absence looks like
        warnings.warn(
            f"nothing can be compiled for {device!r}, and loops run as plain tensor operations: "
            f"{type(error).__name__}: {str(error).splitlines()[0]}",
            stacklevel=4,
        )
        return False
    return True


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x + 1
