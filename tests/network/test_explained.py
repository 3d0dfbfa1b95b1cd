"""Inputs that torch would refuse in its own words: no batch, a sequence, whole numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import ThresholdClip
from snntorch_ecl.errors import ConfigError, InputError

T = 4


def conv_net() -> ecl.SpikingNetwork:
    torch.manual_seed(0)
    return ecl.convert(
        nn.Sequential(
            nn.Conv2d(2, 4, 3), ThresholdClip(4, 0.7), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2),
            ThresholdClip(4, 0.5), nn.Flatten(), nn.Linear(16, 3),
        )
    )  # fmt: skip


def linear_net() -> ecl.SpikingNetwork:
    torch.manual_seed(0)
    return ecl.convert(nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 3)))


class Named(nn.Module):
    """Takes input of any number of dimensions; its output has a name."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 4), ThresholdClip(4, 1.0), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.body(x)}


NETS = {"conv": (conv_net, (2, 8, 8)), "linear": (linear_net, (8,))}
Way = Callable[[ecl.SpikingNetwork, Tensor], Any]
WAYS: dict[str, Way] = {
    "forward": lambda snn, x: snn(x, num_steps=T),
    "over time": lambda snn, x: snn.logits_over_time(x, num_steps=T),
    "predict": lambda snn, x: snn.predict(x, max_steps=T),
}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("grad", [False, True])
def test_an_observation_without_a_batch_is_told_what_it_lacks(
    net: str, way: str, grad: bool
) -> None:
    make, shape = NETS[net]
    snn, run = make(), WAYS[way]
    with torch.set_grad_enabled(grad):
        expected = run(snn, torch.ones(1, *shape))
        with pytest.raises(InputError, match=r"no batch dimension: give x\.unsqueeze\(0\)"):
            run(snn, torch.ones(*shape))
        again = run(snn, torch.ones(1, *shape))  # nothing of it has stayed in the network
    if isinstance(expected, Tensor):
        assert torch.equal(again, expected)


@pytest.mark.parametrize("net", NETS)
def test_a_sequence_without_a_batch_as_well(net: str) -> None:
    make, shape = NETS[net]
    with pytest.raises(InputError, match=r"give x\.unsqueeze\(1\)"):
        make().forward_steps(torch.ones(T, *shape))


def test_a_sequence_is_sent_to_forward_steps() -> None:
    with pytest.raises(InputError, match=r"\[4, 5, 2, 8, 8\] has a dimension too many.*forward_st"):
        conv_net()(torch.ones(T, 5, 2, 8, 8), num_steps=T)


@pytest.mark.parametrize("net", NETS)
def test_whole_numbers_are_named(net: str) -> None:
    make, shape = NETS[net]
    with pytest.raises(InputError, match=r"type torch\.uint8.*x\.float\(\) / 255"):
        make()(torch.ones(2, *shape, dtype=torch.uint8), num_steps=T)


def test_errors_of_other_causes_stay_as_they_are() -> None:
    snn = linear_net()
    with pytest.raises(InputError, match="early exit needs a network with one output"):
        ecl.convert(Named()).predict(torch.ones(2, 8), max_steps=T)

    def fail(*_: object) -> None:
        raise RuntimeError("of the hook")

    snn.net.get_submodule("1").register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="of the hook"):
        snn(torch.ones(2, 8), num_steps=T)


def test_a_call_without_steps_says_what_the_ways_are() -> None:
    with pytest.raises(ConfigError, match=r"num_steps must be.*None.*snn\.step\(x\).*StepByStep"):
        linear_net()(torch.ones(2, 8))


def test_a_sequence_of_steps_goes_on_after_an_input_that_was_refused() -> None:
    snn = conv_net()
    x = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    wrong = (x[0], (100 * x).to(torch.uint8), x[:, :1])
    with torch.no_grad():
        whole = [snn.step(x) for _ in range(4)]
        snn.reset()
        parts = [snn.step(x) for _ in range(2)]
        for bad in wrong:
            with pytest.raises((InputError, ecl.errors.StateError, RuntimeError)):
                snn.step(bad)
        parts += [snn.step(x) for _ in range(2)]
    assert all(map(torch.equal, parts, whole))
