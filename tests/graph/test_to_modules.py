"""Functions become modules, with their settings."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snntorch_ecl.graph._to_modules import _BUILDERS
from tests.helpers.graphs import called, normalised, same
from tests.helpers.nets import Net, over_small
from tests.helpers.parts import conv, wired

pytestmark = pytest.mark.usefixtures("seeded")


@over_small
def test_functional_to_module_keeps_outputs(net: Net) -> None:
    model = net.model()
    assert same(normalised(model), model, net.inputs())


@over_small
def test_no_function_with_a_module_counterpart_is_left(net: Net) -> None:
    gm = normalised(net.model())
    assert not [t for op in ("call_function", "call_method") for t in called(gm, op)
                if t in _BUILDERS]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "kind", "settings"),
    [
        (lambda x: F.relu(x), nn.ReLU, {}),
        (lambda x: F.relu(input=x), nn.ReLU, {}),
        (lambda x: x.clamp(0), nn.ReLU, {}),
        (lambda x: torch.clamp_min(x, 0), nn.ReLU, {}),
        (lambda x: x.clamp(min=0.0, max=2), nn.Hardtanh, {"min_val": 0, "max_val": 2}),
        (lambda x: F.hardtanh(x, 0.0, 3.0), nn.Hardtanh, {"min_val": 0, "max_val": 3}),
        (lambda x: F.hardtanh(x, min_val=0), nn.Hardtanh, {"min_val": 0, "max_val": 1}),
        (lambda x: F.relu6(x), nn.ReLU6, {}),
        (lambda x: F.dropout(x, 0.2, training=False), nn.Dropout, {"p": 0.2, "training": False}),
        (lambda x: F.dropout2d(x, p=0.3, training=False), nn.Dropout2d, {"p": 0.3}),
        (lambda x: F.max_pool2d(x, 3, 1, padding=1), nn.MaxPool2d,
         {"kernel_size": 3, "stride": 1, "padding": 1}),
        (lambda x: F.max_pool2d(x, kernel_size=(2, 1)), nn.MaxPool2d,
         {"kernel_size": (2, 1), "stride": (2, 1)}),
        (lambda x: F.max_pool2d(x, 2, ceil_mode=True), nn.MaxPool2d, {"ceil_mode": True}),
        (lambda x: F.adaptive_max_pool2d(x, 2), nn.AdaptiveMaxPool2d, {"output_size": 2}),
    ],
)  # fmt: skip
def test_a_function_becomes_its_module_with_its_settings(call, kind, settings) -> None:
    gm = normalised(wired(lambda m, x: call(m.c(x)), c=conv()).eval())
    module = gm.get_submodule(called(gm, "call_module")[1])
    assert type(module) is kind
    assert {name: getattr(module, name) for name in settings} == settings


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.clamp(-1, 1),
        lambda x: x.clamp(max=6),
        lambda x: x.clamp(0, -1),
        lambda x: x.clamp(min=x.shape[0]),
        lambda x: F.hardtanh(x),
        lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
        lambda x: F.dropout(x),
    ],
)
def test_what_is_no_rectifier_or_pooling_stays_a_function(call) -> None:
    gm = normalised(wired(lambda m, x: call(m.c(x)), c=conv()).eval())
    assert called(gm, "call_module") == ["c"]


def test_new_modules_take_the_networks_mode() -> None:
    for training in (True, False):
        gm = normalised(wired(lambda m, x: F.relu(x)).train(training))
        assert gm.get_submodule("relu").training is training
