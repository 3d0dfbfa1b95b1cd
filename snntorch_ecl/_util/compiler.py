"""``torch.compile`` for single loops: with room for all kinds of input, and a way without it."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import torch

# One compilation for each of: steps in a piece, rank, type, fresh or not, sizes that are 1.
_COMPILATIONS = 64


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile for all shapes, and for many kinds of input: Dynamo's own limit is 8.

    Beyond that limit it would go back to plain code without a word.

    Args:
        function: Takes and returns tensors.

    Returns:
        The same, compiled on first use.
    """
    compile_: Any = torch.compile
    if "recompile_limit" in inspect.signature(compile_).parameters:
        own: Callable[..., Any] = compile_(function, dynamic=True, recompile_limit=_COMPILATIONS)
        return own
    plain = compile_(function, dynamic=True)
    config = torch._dynamo.config
    known = ("recompile_limit", "cache_size_limit")  # renamed between releases
    limit = next(name for name in known if hasattr(config, name))

    def with_room(*args: Any) -> Any:
        with config.patch({limit: _COMPILATIONS}):
            return plain(*args)

    return with_room


@functools.cache
def works_on(device: str) -> bool:
    """Try once on a device whether anything can be compiled for it; warn where nothing can.

    Args:
        device: Type of device, such as ``"cpu"``.

    Returns:
        Whether :func:`compiled` functions run there.
    """
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
