"""Where scales stand: weights that cannot take them, channels that differ, other neurons."""

from __future__ import annotations

from typing import Any

import pytest
import snntorch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import UnsupportedError
from snntorch_ecl.graph._ndims import ndims
from tests.helpers.nets import BY_NAME
from tests.helpers.parts import conv, wired
from tests.helpers.unit_spikes import assert_the_same, clip, scales, weight

pytestmark = pytest.mark.usefixtures("seeded_without_gradients")


def shared_layer() -> nn.Module:
    return wired(lambda m, x: m.l(m.b(m.l(m.a(x)))), l=nn.Linear(4, 4), a=clip(0.5), b=clip(2.0))


def shared_under_two_names() -> nn.Module:
    layer = nn.Linear(4, 4)
    return wired(lambda m, x: m.k(m.b(m.l(m.a(x)))), l=layer, k=layer, a=clip(0.5),
                 b=clip(2.0))  # fmt: skip


def tied() -> nn.Module:
    model = wired(lambda m, x: m.k(m.b(m.l(m.a(x)))), l=nn.Linear(4, 4), k=nn.Linear(4, 4),
                  a=clip(0.5), b=clip(2.0))  # fmt: skip
    model.k.weight = model.l.weight
    return model


def read_by_code() -> nn.Module:
    return wired(lambda m, x: F.linear(m.b(m.l(m.a(x))), m.l.weight.t()), l=nn.Linear(4, 4),
                 a=clip(0.5), b=clip(2.0))  # fmt: skip


def parametrized() -> nn.Module:
    layers = [nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)) for _ in range(2)]
    return nn.Sequential(clip(0.5), layers[0], clip(2.0), layers[1])


def hooked() -> nn.Module:
    layers = [nn.Linear(4, 4) for _ in range(2)]
    for layer in layers:
        layer.register_forward_pre_hook(_doubles)
    return nn.Sequential(clip(0.5), layers[0], clip(2.0), layers[1])


def _doubles(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return (args[0] * 2,)


class OwnLinear(nn.Linear):
    """Counts as affine, by inheritance; what it does with its weight is its own affair."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight - 1.0, self.bias)


def own_types() -> nn.Module:
    return nn.Sequential(clip(0.5), OwnLinear(4, 4), clip(2.0), OwnLinear(4, 4))


@pytest.mark.parametrize(
    "build",
    [shared_layer, shared_under_two_names, tied, read_by_code, parametrized, hooked, own_types],
)
def test_weights_that_are_not_one_layers_own_stay_as_they_are(build: Any) -> None:
    unit = assert_the_same(build().double(), (torch.rand(3, 4).double(),))
    assert sorted(scales(unit).values()) == [0.5, 2.0]


@pytest.mark.parametrize(
    ("forward", "shape"),
    [
        (lambda m, x: m.fc(m.clip(x)), (4, 4)),  # the linear layer acts on dimension 2
        (lambda m, x: F.avg_pool2d(m.clip(x), 2), (4, 4, 4)),  # a call without a module
        (lambda m, x: m.pool(m.clip(x)), (4, 4)),  # it pools the channels
        (lambda m, x: m.flat(m.clip(x)), (4, 2, 2)),  # nothing tells how many places there are
        (lambda m, x: m.tail(m.clip(x)), (4, 2, 2)),  # the channels stay where they are
        (lambda m, x: m.fc(m.rows(m.clip(x))), (4, 2, 4)),  # not all is flattened
        (lambda m, x: m.clip(x).permute(0, 2, 1), (4, 4)),
        (lambda m, x: m.clip(x).mean(1), (4, 4)),
    ],
    ids=["tokens", "functional pool", "pool", "flat", "tail", "rows", "permute", "mean"],
)
def test_channels_that_would_be_mistaken_for_something_else_get_a_scale(
    forward: Any, shape: tuple[int, ...]
) -> None:
    ann = wired(forward, clip=clip(0.25, 0.5, 1.0, 2.0), fc=nn.Linear(4, 4), pool=nn.MaxPool2d(2),
                flat=nn.Flatten(), tail=nn.Flatten(2), rows=nn.Flatten(1, 2)).double()  # fmt: skip
    unit = assert_the_same(ann, (3 * torch.rand(3, *shape).double(),))
    assert scales(unit) == {"clip_scale": [0.25, 0.5, 1.0, 2.0]}


def test_the_output_is_worth_its_threshold() -> None:
    unit = ecl.convert(nn.Sequential(nn.Identity(), clip(0.5)), unit_spikes=True)
    assert scales(unit) == {"1_scale": 0.5}
    assert unit(torch.ones(1, 2), num_steps=2).tolist() == [[0.5, 0.5]]


def test_scales_do_not_reach_what_reads_sizes() -> None:
    unit = ecl.convert(BY_NAME["late batch size"].prepared(), unit_spikes=True)
    assert len(scales(unit)) == 1  # before view, which is no flattening to the eye


def test_reading_a_size_needs_no_scale() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.clip(x)
        return m.conv(y).view(y.shape[0], -1)

    unit = ecl.convert(wired(forward, clip=clip(0.5), conv=conv(2, 2)), unit_spikes=True)
    assert scales(unit) == {}


def test_frozen_weights_stay_frozen() -> None:
    ann = nn.Sequential(clip(0.5), nn.Linear(4, 4).requires_grad_(False))
    unit = ecl.convert(ann, unit_spikes=True)
    assert not weight(unit.net.get_submodule("1")).requires_grad
    assert not unit.net.get_submodule("1").bias.requires_grad


def test_dimensions_are_known_only_where_all_that_is_combined_tells_them() -> None:
    model = wired(lambda m, x, y: (m.conv(x) + m.conv(x), m.conv(x) + y), conv=conv())
    graph = torch.fx.symbolic_trace(model)
    known = {node.name: rank for node, rank in ndims(graph).items()}
    assert known == {"conv": 4, "conv_1": 4, "add": 4, "conv_2": 4}


# ---------------------------------------------------------------------------- other neurons


class Spiking(nn.Module):
    """A user's layer that a handler turns into a neuron."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def with_handler(make: Any) -> ecl.SpikingNetwork:
    model = nn.Sequential(nn.Linear(4, 4), clip(0.5), nn.Linear(4, 4), Spiking(), nn.Linear(4, 2))
    return ecl.convert(model, unit_spikes=True, handlers={Spiking: make})


def test_other_neurons_stay_as_they_are() -> None:
    leaky = snntorch.Leaky(beta=0.5, init_hidden=True, graded_spikes_factor=3.0)
    unit = with_handler(lambda m, site: leaky)
    assert unit.net.get_submodule("3").neuron.graded_spikes_factor == 3.0
    assert scales(unit) == {}


def test_a_handlers_neuron_whose_spikes_are_worth_its_threshold_takes_part() -> None:
    unit = with_handler(
        lambda m, site: ecl.DualThreshold(2.0, graded_spikes_factor=2.0, init_hidden=True)
    )
    assert unit.net.get_submodule("3").graded_spikes_factor == 1.0


@pytest.mark.parametrize(
    "settings",
    [{"graded_spikes_factor": 3.0},
     {"graded_spikes_factor": 2.0, "learn_graded_spikes_factor": True}],
)  # fmt: skip
def test_a_handlers_neuron_of_other_spikes_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=r"3 \(DualThreshold\): graded_spikes_factor is not"):
        with_handler(lambda m, site: ecl.DualThreshold(2.0, init_hidden=True, **settings))
