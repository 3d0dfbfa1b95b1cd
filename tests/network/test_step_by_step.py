"""snnTorch's training loops on converted networks."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from snntorch import utils
from snntorch.functional import ce_rate_loss
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import ThresholdClip
from snntorch_ecl.errors import ConfigError, InputError
from snntorch_ecl.network import StepByStep

T = 4


def network() -> ecl.SpikingNetwork:
    torch.manual_seed(0)
    return ecl.convert(
        nn.Sequential(
            nn.Conv2d(2, 4, 3), ThresholdClip(4, 0.7), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(36, 6), ThresholdClip(4, 0.5), nn.Linear(6, 3),
        )
    )  # fmt: skip


def data() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.rand(3, 2, 8, 8, generator=generator), torch.tensor([0, 1, 2]))] * 2


def train(kind: str, net: nn.Module, **settings: Any) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from snntorch import backprop
    loss: Tensor = getattr(backprop, kind)(
        net, data(), optimizer=torch.optim.SGD(net.parameters(), lr=0.05),
        criterion=ce_rate_loss(), num_steps=T, time_var=False, **settings,
    )  # fmt: skip
    return loss


@pytest.mark.parametrize("kind", ["BPTT", "TBPTT", "RTRL"])
def test_snntorchs_loops_train_a_converted_network(kind: str) -> None:
    snn = network()
    before = [p.clone() for p in snn.parameters()]
    loss = train(kind, StepByStep(snn), **({"K": 2} if kind == "TBPTT" else {}))
    assert math.isfinite(loss.item())
    assert all(not torch.equal(a, b) for a, b in zip(before, snn.parameters(), strict=True))


def test_bptt_takes_the_steps_that_a_loop_by_hand_takes() -> None:
    by_snntorch, by_hand = network(), network()
    train("BPTT", StepByStep(by_snntorch))
    optimiser = torch.optim.SGD(by_hand.parameters(), lr=0.05)
    for images, labels in data():
        by_hand.reset()
        steps = torch.stack([by_hand.step(images) for _ in range(T)])
        loss = sum(nn.functional.cross_entropy(step, labels) for step in steps) / T
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for ours, theirs in zip(by_hand.parameters(), by_snntorch.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("reset", [utils.reset, ecl.reset])
def test_a_loop_over_calls_begins_anew_after_a_reset(reset: Any) -> None:
    snn, (images, _) = network(), data()[0]
    net = StepByStep(snn)
    for _ in range(2):
        reset(net)
        mean = torch.stack([net(images)[0] for _ in range(T)]).mean(0)
        assert torch.allclose(mean, snn(images, num_steps=T), atol=1e-6)


def test_without_it_the_loops_are_told_of_it() -> None:
    with pytest.raises(ConfigError, match="StepByStep"):
        train("BPTT", network())


def test_one_output_is_needed() -> None:
    ann = nn.Sequential(nn.Conv2d(2, 4, 3), ThresholdClip(4, 0.7), nn.Conv2d(4, 4, 3))
    with pytest.raises(InputError, match="one output"):
        StepByStep(ecl.convert(ann))(torch.rand(1, 2, 8, 8))
