"""A compiler that makes code without gradients, as some release of torch may."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def lossy(graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., tuple[Tensor, ...]]:
    """A backend for ``torch.compile``: right values, no gradients, no error."""

    def run(*args: Any) -> tuple[Tensor, ...]:
        return tuple(value.detach() for value in graph(*args))

    return run
