"""Unit spikes compute what spikes worth θ compute, and θ stands where the graph says."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from tests.helpers.nets import Net, over_kinds, over_kinds_folded_and_not
from tests.helpers.parts import clips_of, conv, head, wired
from tests.helpers.unit_spikes import assert_the_same, clip, per_channel, scales, weight

pytestmark = pytest.mark.usefixtures("seeded_without_gradients")


# ------------------------------------------------------------------------------- equal networks


@over_kinds_folded_and_not
def test_outputs_and_spikes_are_those_of_the_default_conversion(net: Net, fold: bool) -> None:
    inputs = tuple(x.double() for x in net.inputs())
    assert_the_same(net.prepared().double(), inputs, fold_batchnorms=fold)


@over_kinds
def test_the_same_with_one_threshold_a_channel(net: Net) -> None:
    assert_the_same(per_channel(net), tuple(x.double() for x in net.inputs()))


@over_kinds
def test_the_users_network_stays_as_it_was(net: Net) -> None:
    ann = per_channel(net)
    before = copy.deepcopy(ann.state_dict())
    identities = {name: id(p) for name, p in ann.named_parameters()}
    unit = ecl.convert(ann, unit_spikes=True)
    assert all(torch.equal(value, before[name]) for name, value in ann.state_dict().items())
    assert identities == {name: id(p) for name, p in ann.named_parameters()}
    mine = {t.data_ptr() for t in ann.parameters()}
    assert not mine & {t.data_ptr() for t in (*unit.parameters(), *unit.buffers())}


@over_kinds
def test_where_scales_go_does_not_depend_on_the_values_of_thresholds(net: Net) -> None:
    first, second = net.prepared(), net.prepared()
    for c in clips_of(second).values():
        c.threshold = 1.0
    assert scales(ecl.convert(first, unit_spikes=True)).keys() == (
        scales(ecl.convert(second, unit_spikes=True)).keys()
    )


def test_by_default_spikes_are_worth_their_threshold() -> None:
    snn = ecl.convert(nn.Sequential(nn.Linear(2, 2), clip(0.5), nn.Linear(2, 1)))
    assert not snn.unit_spikes
    assert scales(snn) == {}
    assert snn.neurons["1"].graded_spikes_factor == 0.5


def test_a_linear_layers_weights_take_the_threshold_and_its_bias_does_not() -> None:
    ann = nn.Sequential(clip(0.5), nn.Linear(2, 1))
    ann[1].weight.data, ann[1].bias.data = torch.tensor([[2.0, -4.0]]), torch.tensor([3.0])
    unit = ecl.convert(ann, unit_spikes=True)
    assert unit.unit_spikes
    assert weight(unit.net.get_submodule("1")).tolist() == [[1.0, -2.0]]
    assert unit.net.get_submodule("1").bias.tolist() == [3.0]
    # Currents 0.5 and 0.25: spikes 1 1 and 1 0 in two steps, outputs 3 + 1 − 2 and 3 + 1.
    assert unit.logits_over_time(torch.tensor([[0.5, 0.25]]), num_steps=2).flatten().tolist() == [
        2.0, 3.0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "factors"),
    [
        (nn.Conv1d(4, 6, 1), [[2, 3, 4, 5]] * 6),
        (nn.Conv1d(4, 6, 1, groups=2), [[2, 3]] * 3 + [[4, 5]] * 3),
        (nn.Conv1d(4, 8, 1, groups=4), [[2], [2], [3], [3], [4], [4], [5], [5]]),
        (nn.ConvTranspose1d(4, 6, 1), [[2] * 6, [3] * 6, [4] * 6, [5] * 6]),
        (nn.ConvTranspose1d(4, 6, 1, groups=2), [[2] * 3, [3] * 3, [4] * 3, [5] * 3]),
    ],
    ids=str,
)
def test_each_input_channel_of_a_convolution_takes_its_own_threshold(
    layer: nn.Module, factors: list[list[float]]
) -> None:
    ann = nn.Sequential(clip(2.0, 3.0, 4.0, 5.0), layer)
    unit = ecl.convert(ann, unit_spikes=True)
    expected = weight(layer) * torch.tensor(factors).unsqueeze(2)
    assert torch.equal(weight(unit.net.get_submodule("1")), expected)
    assert scales(unit) == {}


@pytest.mark.parametrize("flat", [nn.Flatten(), wired(lambda m, x: torch.flatten(x, 1)),
                         wired(lambda m, x: x.flatten(start_dim=1))])  # fmt: skip
def test_a_linear_layer_behind_flattening_takes_a_threshold_for_each_place(flat: nn.Module) -> None:
    ann = nn.Sequential(nn.Conv1d(1, 2, 1), clip(2.0, 3.0), flat, nn.Linear(6, 1))
    unit = ecl.convert(ann, unit_spikes=True)
    expected = weight(ann[3]) * torch.tensor([2.0, 2, 2, 3, 3, 3])
    assert torch.equal(weight(unit.net.get_submodule("3")), expected)
    assert scales(unit) == {}


@pytest.mark.parametrize(
    "between",
    [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d(2),
     nn.Upsample(scale_factor=2, mode="bilinear"), nn.ZeroPad2d(1), nn.Dropout2d(), nn.Identity()],
    ids=lambda m: type(m).__name__,
)  # fmt: skip
def test_layers_between_that_scale_with_each_channel_need_no_scale(between: nn.Module) -> None:
    ann = nn.Sequential(conv(2, 2), clip(0.25, 0.5), between, nn.Conv2d(2, 3, 1)).double()
    unit = assert_the_same(ann, (torch.randn(3, 2, 4, 4).double(),))
    assert scales(unit) == {}


def test_a_residual_addition_reads_both_branches_scaled() -> None:
    """Spikes 1 and 1 of θ = 0.5 and θ = 2 are together worth 2.5."""
    ann = wired(lambda m, x: m.a(x) + m.b(x), a=clip(0.5), b=clip(2.0))
    unit = ecl.convert(ann, unit_spikes=True)
    assert scales(unit) == {"a_scale": 0.5, "b_scale": 2.0}
    assert unit(torch.full((1, 2), 9.0), num_steps=3).tolist() == [[2.5, 2.5]]


def test_of_several_readers_those_fold_that_can() -> None:
    """A block's output goes into a convolution and past it, into two additions."""

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.pool(m.clip(m.stem(x)))
        return m.head(m.conv(y) + y + y)

    ann = wired(forward, stem=conv(2, 4), clip=clip(0.25, 0.5, 1.0, 2.0), pool=nn.MaxPool2d(2),
                conv=conv(4, 4), head=head(4)).double()  # fmt: skip
    unit = assert_the_same(ann, (torch.randn(3, 2, 4, 4).double(),))
    assert scales(unit) == {"pool_scale": [0.25, 0.5, 1.0, 2.0]}
    theta = torch.tensor([0.25, 0.5, 1.0, 2.0]).view(-1, 1, 1)
    assert torch.equal(weight(unit.net.get_submodule("conv")), weight(ann.conv) * theta)
