"""Tracing keeps outputs, and says what cannot be traced."""

from __future__ import annotations

import operator

import pytest
import torch
from torch import Tensor, nn

from snntorch_ecl.errors import TraceError
from snntorch_ecl.graph._trace import trace
from tests.helpers.graphs import called, linear_net, same
from tests.helpers.nets import Net, over_small

pytestmark = pytest.mark.usefixtures("seeded")


@over_small
def test_trace_keeps_outputs_modes_and_names(net: Net) -> None:
    model = net.model()
    gm = trace(model)
    assert same(gm, model, net.inputs())
    assert set(gm.state_dict()) <= set(model.state_dict())
    assert {m.training for m in gm.modules()} == {False}


@over_small
def test_trace_works_on_a_copy(net: Net) -> None:
    model = net.model()
    mine = {id(t) for t in (*model.parameters(), *model.buffers(), *model.modules())}
    gm = trace(model)
    assert not mine & {id(t) for t in (*gm.parameters(), *gm.buffers(), *gm.modules())}


@pytest.mark.parametrize("training", [True, False])
def test_trace_sets_the_mode_it_is_asked_for(training: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train(not training)
    assert {m.training for m in trace(model, training=training).modules()} == {training}
    assert model.training is not training


def test_trace_keeps_each_modules_own_mode() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).train()
    model[1].eval()
    assert [m.training for m in trace(model).modules()] == [True, True, False]


def test_trace_fixes_defaults_without_leaving_inputs_or_assertions() -> None:
    gm = trace(linear_net(lambda m, x, flag=False, mask=None, mode="a", k=2: m.b(m.a(x) * k)))
    assert called(gm, "placeholder") == ["x"]
    assert called(gm, "call_function") == [operator.mul]


def test_an_input_named_like_a_default_stays() -> None:
    model = linear_net(lambda m, x_1, x=None: m.b(m.a(x_1)))
    assert same(trace(model), model, (torch.ones(2, 4),))


def test_a_default_may_be_a_tuple() -> None:
    model = linear_net(lambda m, x, scales=(1.0, 2.0): m.b(m.a(x) * scales[1]))
    assert same(trace(model), model, (torch.ones(2, 4),))


def test_types_in_leaves_are_not_looked_into() -> None:
    class Block(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if bool(x.sum() > 0) else -x

    gm = trace(nn.Sequential(Block()), [Block])
    assert called(gm, "call_module") == ["0"]


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Looping(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(x.size(0)):
            x = x + 1
        return x


@pytest.mark.parametrize("kind", [Branching, Looping])
def test_a_trace_error_names_the_innermost_module_and_the_remedy(kind: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), kind()))
    with pytest.raises(TraceError) as caught:
        trace(model)
    assert f"'1.1' ({kind.__name__})" in str(caught.value)
    assert "leaf_modules=" in str(caught.value)
    assert "ecl.register" in str(caught.value)


def test_a_trace_error_at_the_top_level_names_the_network() -> None:
    with pytest.raises(TraceError, match=r"top level \(Branching\)"):
        trace(Branching())


def test_a_network_that_cannot_be_copied_is_a_trace_error() -> None:
    model = nn.Linear(2, 2)
    model.cache = model.weight * 2  # as old weight norm leaves it: no leaf, not to be copied
    with pytest.raises(TraceError, match="Linear cannot be copied"):
        trace(model)
