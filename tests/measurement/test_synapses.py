"""Synapses of layers that are called twice, computed, or named like inputs."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import snntorch_ecl as ecl

from ..helpers.distances import images, seeded
from ..helpers.parts import wired


@pytest.mark.parametrize("num_steps", [1, 4, 8])
def test_a_layer_before_and_behind_neurons_counts_as_each(num_steps: int) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.head(m.clip(m.shared(m.clip_0(m.shared(x)))))

    net = wired(
        forward, shared=nn.Linear(4, 4), head=nn.Linear(4, 2),
        clip=ecl.ThresholdClip(4, 1.0), clip_0=ecl.ThresholdClip(4, 1.0),
    ).eval()  # fmt: skip
    cost = ecl.energy(ecl.convert(net), [images(6, 4)], num_steps=num_steps, progress=False)
    assert cost.total("ann_macs") == pytest.approx(4 * 4 + 4 * 4 + 4 * 2)
    assert cost.total("macs") == 4 * 4  # the first call alone, once for all steps


def test_an_input_called_like_a_layer_has_no_synapses() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.clip, self.head = (
                nn.Linear(4, 4),
                ecl.ThresholdClip(4, 1.0),
                nn.Linear(4, 2),
            )

        def forward(self, head: Tensor) -> Tensor:
            out: Tensor = self.head(self.clip(self.a(head)))
            return out

    data = [images(6, 4), images(5, 4)]
    cost = ecl.energy(ecl.convert(seeded(Net)), data, num_steps=4, progress=False)
    assert cost.total("ann_macs") == pytest.approx(16 + 8)


def test_a_computed_weight_has_its_synapses() -> None:
    def cost(wrap: Callable[[nn.Module], nn.Module]) -> float:
        layers = (wrap(nn.Conv2d(2, 3, 3)), ecl.ThresholdClip(4, 1.0), nn.Flatten())
        net = nn.Sequential(*layers, wrap(nn.Linear(12, 2))).eval()
        snn = ecl.convert(net)
        return ecl.energy(snn, [images(6, 2, 4, 4)], num_steps=2, progress=False).total("ann_macs")

    assert cost(weight_norm) == cost(lambda layer: layer)
