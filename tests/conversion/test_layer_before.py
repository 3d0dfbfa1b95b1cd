"""Which layer feeds a neuron, whatever it is called, and what is corrected there."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.conversion._layer_before import layer_before

from ..helpers.distances import images, seeded
from ..helpers.parts import wired
from ..helpers.residual import fitted

# What corrections do, however they are judged; tests/conversion/test_compensation.py judges them.
pytestmark = pytest.mark.usefixtures("all_kept")


def test_a_last_layer_may_be_called_output() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.output(F.relu(m.b(F.relu(m.a(x)))))

    def build() -> nn.Module:
        parts = {"a": nn.Linear(8, 32), "b": nn.Linear(32, 32), "output": nn.Linear(32, 5)}
        return wired(forward, **parts)

    net, x = seeded(build), images(256, 8)
    snn = ecl.convert(ecl.calibrate(ecl.prepare(net), [x]))
    assert layer_before(snn.net, None) is snn.net.get_submodule("output")
    better = ecl.compensate(snn, net, [x], num_steps=2, progress=False)
    with torch.no_grad():
        left = (better(fitted(x), num_steps=2) - net(fitted(x))).mean(0)
    assert left.abs().max() < 1e-5  # the bias takes up the mean


def test_an_input_may_be_called_like_a_layer() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.act, self.b = nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)

        def forward(self, act: Tensor) -> Tensor:
            out: Tensor = self.b(self.act(self.a(act)))
            return out

    net, x = seeded(Net), images(64, 4)
    snn = ecl.convert(ecl.calibrate(ecl.prepare(net), [x]))
    assert layer_before(snn.net, "act") is snn.net.get_submodule("a")


def test_a_last_layer_that_is_spread_over_the_output_is_left_alone() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = F.relu(m.a(x))
        return m.b(y) + m.context(F.adaptive_avg_pool2d(y, 1))

    parts = {name: nn.Conv2d(3, 3, 1) for name in ("a", "b", "context")}
    net, x = seeded(lambda: wired(forward, **parts)), images(32, 3, 4, 4)
    snn = ecl.convert(ecl.calibrate(ecl.prepare(net), [x]))
    better = ecl.compensate(snn, net, [x], num_steps=2, progress=False)
    assert better(x, num_steps=2).shape == net(x).shape


@pytest.mark.parametrize("method", ["weights", "biases", "steps"])
def test_a_layer_that_is_spread_over_the_current_is_left_alone(method: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = F.relu(m.stem(x))
        context = m.context(F.adaptive_avg_pool2d(x, 1))
        return m.head(F.relu(m.a(x) + context).mean((2, 3)))

    def build() -> nn.Module:
        parts = {name: nn.Conv2d(3, 3, 1) for name in ("stem", "a", "context")}
        return wired(forward, head=nn.Linear(3, 2), **parts)

    net, x = seeded(build), images(32, 3, 4, 4)
    snn = ecl.convert(ecl.calibrate(ecl.prepare(net), [x]))
    better = ecl.compensate(snn, net, [x], num_steps=2, method=method, progress=False)
    with torch.no_grad():
        left = (better(fitted(x), num_steps=2) - net(fitted(x))).mean(0)
    assert left.abs().max() < 1e-5  # the head takes up the mean
    if method == "weights":
        before, after = (s.net.get_submodule("context").weight for s in (snn, better))
        assert torch.equal(before, after)


def test_inference_mode_around_it_changes_nothing() -> None:
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)))
    snn = ecl.convert(ecl.calibrate(ecl.prepare(net), [images(64, 4)]))

    def run() -> tuple[Tensor, float]:
        better = ecl.compensate(snn, net, [images(64, 4)], num_steps=2, progress=False)
        cost = ecl.energy(better, [images(64, 4)], num_steps=2, progress=False)
        return better(images(8, 4), num_steps=2), cost.total("macs")

    with torch.inference_mode():
        inside = run()
    with torch.no_grad():
        assert torch.equal(inside[0], run()[0])
        assert inside[1] == run()[1]
