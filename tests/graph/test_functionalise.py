"""Operations in place become functions, and every reader sees what it saw."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.graph._functionalise import functionalise
from snntorch_ecl.graph._trace import trace
from tests.helpers.graphs import linear_net, same
from tests.helpers.nets import Net, over_small

pytestmark = pytest.mark.usefixtures("seeded")


@over_small
def test_functionalise_keeps_outputs(net: Net) -> None:
    model = net.model()
    assert same(functionalise(trace(model)), model, net.inputs())


@over_small
def test_functionalise_leaves_no_write_to_an_intermediate_tensor(net: Net) -> None:
    """Outputs of every node stay as they were when made."""

    class Watcher(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            result = super().run_node(n)
            if isinstance(result, Tensor):
                seen.append((n, result, result.clone()))
            return result

    seen: list[tuple[torch.fx.Node, Tensor, Tensor]] = []
    gm = functionalise(trace(net.model()))
    with torch.no_grad():
        Watcher(gm).run(*net.inputs())
    assert [n for n, now, then in seen if not torch.equal(now, then)] == []


def then_read(write: Callable[[Any, Tensor], Any]) -> nn.Module:
    """Reads a tensor after ``write`` has overwritten it, and before."""

    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.a(x)
        before = h * 2
        out = write(m, h)
        return m.b(before) + m.b(h) * 3 + out

    return linear_net(forward, relu=nn.ReLU(inplace=True), cap=nn.Hardtanh(0, 1, inplace=True))


@pytest.mark.parametrize(
    "write",
    [
        lambda m, h: m.relu(h),
        lambda m, h: m.cap(h),
        lambda m, h: F.relu(h, inplace=True),
        lambda m, h: F.relu(h, True),
        lambda m, h: F.hardtanh(h, 0, 0.5, inplace=True),
        lambda m, h: torch.relu_(h),
        lambda m, h: h.relu_(),
        lambda m, h: h.add_(1),
        lambda m, h: h.sub_(1),
        lambda m, h: h.mul_(2),
        lambda m, h: h.div_(2),
        lambda m, h: h.neg_(),
        lambda m, h: h.clamp_(min=0),
        lambda m, h: h.clamp_min_(0),
        lambda m, h: operator.iadd(h, 1),
        lambda m, h: operator.isub(h, 1),
        lambda m, h: operator.imul(h, 2),
        lambda m, h: operator.itruediv(h, 2),
    ],
)
def test_later_readers_of_an_overwritten_tensor_see_the_new_one(write: Any) -> None:
    model = then_read(write)
    gm = functionalise(trace(model))
    assert same(gm, model, (torch.randn(8, 4),))
    assert "inplace = True" not in gm.code


def plus_equals(m: Any, h: Tensor) -> Tensor:
    h += 1
    return h


def through_identity(m: Any, h: Tensor) -> Tensor:
    m.relu(m.skip(h))
    return h


def through_view(m: Any, h: Tensor) -> Tensor:
    h.view(-1, 4).relu_()
    return h


def through_slice(m: Any, h: Tensor) -> Tensor:
    h[:, :2].relu_()
    return h


def alias_made_before(m: Any, h: Tensor) -> Tensor:
    """A pre-activation block whose shortcut is an nn.Identity."""
    shortcut = m.skip(h)
    return m.relu(h) + shortcut


@pytest.mark.parametrize(
    "write", [plus_equals, through_identity, through_view, through_slice, alias_made_before]
)
def test_overwriting_reaches_every_alias_or_is_refused(write: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.a(x)
        out = write(m, h)
        return m.b(h) + out

    model = linear_net(forward, relu=nn.ReLU(inplace=True), skip=nn.Identity())
    try:
        gm = functionalise(trace(model))
    except ecl.EclError:
        return
    assert same(gm, model, (torch.randn(8, 4),))
