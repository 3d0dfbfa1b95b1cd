"""Settled networks: the quantised network's own answer, in float64, and when it came."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

import snntorch_ecl as ecl
from snntorch_ecl import ThresholdClip
from snntorch_ecl.errors import ConfigError, InputError, UnsupportedError
from snntorch_ecl.models import ViT
from tests.helpers.nets import Net, over_kinds


@over_kinds
@pytest.mark.parametrize("unit_spikes", [False, True])
def test_it_is_the_quantised_networks_answer(net: Net, unit_spikes: bool) -> None:
    ann = net.prepared(levels=3).double()
    inputs = tuple(x.double() for x in net.inputs(4))
    settled = ecl.convert(ann, unit_spikes=unit_spikes).settle(*inputs)
    assert settled.silent.all()
    wanted = tree_leaves(ann(*inputs))
    for a, b in zip(tree_leaves(settled.output), wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("levels", [1, 2, pytest.param(8, marks=pytest.mark.slow)])
def test_a_transformer_settles_on_its_quantised_answer(levels: int) -> None:
    torch.manual_seed(0)
    net, x = ViT().double(), torch.randn(6, 1, 28, 28, dtype=torch.float64)
    ann = ecl.prepare(net, levels=levels, signed=True, example=x)
    ann.train()(x)
    snn = ecl.convert(ann.eval())
    settled = snn.settle(x)
    torch.testing.assert_close(settled.output, ann(x), atol=1e-12, rtol=1e-12)
    # Each image fell silent at its own step: with fewer steps just those are silent.
    early = snn.settle(x, max_steps=int(settled.steps.min()) + 1)
    assert torch.equal(early.silent, settled.steps <= int(settled.steps.min()))
    assert settled.spikes.min() > 0


def three_layers() -> nn.Module:
    """λ = 1, L = 4: θ = 1/4. Weights are 1, −1, 1."""
    ann = nn.Sequential(
        nn.Linear(1, 1), ThresholdClip(4, 1.0, signed=True), nn.Linear(1, 1), ThresholdClip(4, 1.0)
    )
    for layer, weight, bias in ((ann[0], 1.0, 0.0), (ann[2], -1.0, 0.5)):
        nn.init.constant_(layer.weight, weight)
        nn.init.constant_(layer.bias, bias)
    return nn.Sequential(*ann, nn.Identity())


def test_by_hand() -> None:
    """z = 0.5: n = 2 after two steps. The second layer gets 0.5 − n/4 in sum: it fires once, and
    takes it back at the second step. z = −0.3: n = −1 at once; 0.75 makes three spikes, by step 3.
    """
    settled = ecl.convert(three_layers()).settle(torch.tensor([[0.5], [-0.3], [0.0], [9.0]]))
    assert settled.output.flatten().tolist() == [0.0, 0.75, 0.5, 0.0]
    assert settled.steps.tolist() == [2, 3, 2, 4]
    assert settled.spikes.tolist() == [4, 4, 2, 6]
    assert settled.neurons == 2


def test_the_networks_own_state_is_not_touched() -> None:
    snn, x = ecl.convert(three_layers()), torch.rand(3, 1)
    snn.step(x)
    before = snn.neurons["1"].mem.clone()
    snn.settle(x)
    assert torch.equal(snn.neurons["1"].mem, before)


@pytest.mark.parametrize(
    ("clip", "settings", "why"),
    [
        ({"levels": None}, {}, r"1 \(DualThreshold\): its clip has no levels"),
        ({"levels": 4}, {"spike_sizes": 2}, r"1 \(DualThreshold\): its spikes have several sizes"),
    ],
)
def test_what_cannot_settle_is_refused(
    clip: dict[str, Any], settings: dict[str, Any], why: str
) -> None:
    ann = nn.Sequential(nn.Linear(2, 3), ThresholdClip(threshold=1.0, **clip), nn.Linear(3, 2))
    with pytest.raises(UnsupportedError, match=why):
        ecl.convert(ann, **settings).settle(torch.rand(1, 2))


def test_bad_arguments() -> None:
    snn = ecl.convert(three_layers())
    with pytest.raises(ConfigError, match="max_steps must be an integer >= 1"):
        snn.settle(torch.rand(1, 1), max_steps=0)
    with pytest.raises(InputError, match="takes 1 input"):
        snn.settle()
    with pytest.raises(InputError, match="NaN"):
        snn.settle(torch.full((1, 1), torch.nan))
