"""Compilers in place of torch's own: a quick one, and one that loses gradients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from snntorch_ecl.functional import _fused


@contextmanager
def only_traced() -> Iterator[None]:
    """The compiler reads code but makes no machine code of it, which would take longer."""
    torch.compiler.reset()
    _fused._loop.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
        yield
    torch.compiler.reset()
    _fused._loop.cache_clear()


def lossy(graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., tuple[Tensor, ...]]:
    """A backend for ``torch.compile``: right values, no gradients, no error, as in some release."""

    def run(*args: Any) -> tuple[Tensor, ...]:
        return tuple(value.detach() for value in graph(*args))

    return run
