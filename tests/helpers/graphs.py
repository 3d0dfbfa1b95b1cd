"""What the tests of passes over a graph share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from snntorch_ecl.graph._functionalise import functionalise
from snntorch_ecl.graph._to_modules import functional_to_module
from snntorch_ecl.graph._trace import finish, trace

from .parts import equal, wired


def same(a: nn.Module, b: nn.Module, inputs: tuple[Tensor, ...]) -> bool:
    """Whether two networks compute the same; a graph module first gets the code of its graph."""
    with torch.no_grad():
        if isinstance(a, GraphModule):
            finish(a)
        return equal(a(*[x.clone() for x in inputs]), b(*[x.clone() for x in inputs]))


def normalised(model: nn.Module) -> GraphModule:
    return functional_to_module(functionalise(trace(model)))


def called(gm: GraphModule, op: str) -> list[Any]:
    return [node.target for node in gm.graph.nodes if node.op == op]


def linear_net(forward: Callable[..., Any], **modules: nn.Module) -> nn.Module:
    """Two linear layers ``a`` and ``b`` around what the test is about, in eval mode."""
    return wired(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 4), **modules).eval()
