"""The same network, spelled otherwise: it prepares, with equal outputs, and converts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import UnsupportedError
from tests.helpers.distances import distance_at
from tests.helpers.parts import clips_of, randomise, wired

X = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))
pytestmark = pytest.mark.usefixtures("seeded")

ZERO = torch.tensor(0.0)


def net(call: Callable[..., Any], **parts: Any) -> nn.Module:
    """Images through a convolution, the call, a ReLU after it, and a head."""

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.conv(x)
        return m.head(F.relu(m.mix(call(m, y) if parts else call(y))).mean((2, 3)))

    common = {"conv": nn.Conv2d(3, 4, 1), "mix": nn.Conv2d(4, 4, 1), "head": nn.Linear(4, 2)}
    return wired(forward, **common, **parts).eval()


class NormAct(nn.BatchNorm2d):
    """As timm's: dropout and activation are its children."""

    def __init__(self, channels: int, act: nn.Module) -> None:
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), act

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        y = F.batch_norm(x, mean, var, self.weight, self.bias, self.training, 0.1, self.eps)
        return self.act(self.drop(y))


class NormRelu(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class NormOnly(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous())


def norm(kind: type[nn.Module], *settings: Any) -> nn.Module:
    layer = kind(4, *settings)
    randomise(layer)
    return layer


def functional_norm(m: Any, y: Tensor) -> Tensor:
    n = m.norm
    return F.batch_norm(F.relu(y), n.running_mean, n.running_var, n.weight, n.bias, eps=n.eps)


# The network, and how many neurons it has.
SPELLINGS: dict[str, tuple[nn.Module, int]] = {
    "clip(0)": (net(lambda y: y.clip(0)), 2),
    "torch.clip(0, a)": (net(lambda y: torch.clip(y, 0, 0.8)), 2),
    "F.threshold": (net(lambda y: F.threshold(y, 0, 0)), 2),
    "nn.Threshold": (net(lambda m, y: m.act(y), act=nn.Threshold(0, 0)), 2),
    "torch.maximum(x, 0)": (net(lambda y: torch.maximum(y, ZERO)), 2),
    "x.maximum(zeros_like)": (net(lambda y: torch.zeros_like(y).maximum(y)), 2),
    "torch.max(x, 0)": (net(lambda y: torch.max(y, ZERO)), 2),
    "where(x > 0, x, 0)": (net(lambda y: torch.where(y > 0, y, 0.0)), 2),
    "where(x <= 0, 0, x)": (net(lambda y: torch.where(y <= 0, ZERO, y)), 2),
    "x.where(x >= 0, 0)": (net(lambda y: y.where(y >= 0, torch.zeros_like(y))), 2),
    "x * (x > 0)": (net(lambda y: y * (y > 0)), 2),
    "(x > 0).float() * x": (net(lambda y: (y > 0).float() * y), 2),
    "LeakyReLU": (net(lambda m, y: m.act(y), act=nn.LeakyReLU(0.3)), 3),
    "F.leaky_relu": (net(lambda y: F.leaky_relu(y, 0.3)), 3),
    "PReLU": (net(lambda m, y: m.act(y), act=nn.PReLU()), 3),
    "PReLU, one a channel": (net(lambda m, y: m.act(y), act=nn.PReLU(4)), 3),
    "PReLU, called twice": (net(lambda m, y: m.act(m.act(y) - 0.1), act=nn.PReLU()), 5),
    "a norm with a ReLU": (net(lambda m, y: m.n(y), n=norm(NormAct, nn.ReLU(inplace=True))), 2),
    "a norm that rectifies": (net(lambda m, y: m.n(y), n=norm(NormRelu)), 2),
    "a norm of another class": (net(lambda m, y: F.relu(m.n(y)), n=norm(NormOnly)), 2),
    "SyncBatchNorm": (net(lambda m, y: F.relu(m.n(y)), n=norm(nn.SyncBatchNorm)), 2),
    "F.batch_norm": (net(functional_norm, norm=norm(nn.BatchNorm2d)), 2),
    "alpha dropout": (net(lambda y: F.alpha_dropout(F.relu(y))), 2),
    "circular padding": (net(lambda m, y: m.pad(F.relu(y)), pad=nn.CircularPad2d(1)), 2),
    "F.conv_transpose2d": (net(lambda m, y: F.conv_transpose2d(F.relu(y), m.w),
                               w=nn.Parameter(torch.randn(4, 4, 2, 2))), 2),
    "narrow and select": (net(lambda y: F.relu(y).narrow(3, 1, 2) + y.select(3, 0)[..., None]), 2),
    "expand": (net(lambda y: F.relu(y).mean(3, keepdim=True).expand(-1, 4, 4, 4)), 2),
    "bmm": (net(lambda m, y: torch.bmm(m.w.expand(y.shape[0], -1, -1), F.relu(y).flatten(2))
                .view(-1, 4, 4, 4), w=nn.Parameter(torch.randn(1, 4, 4))), 2),
}  # fmt: skip

# These need shapes, where the others do not.
SHAPED: dict[str, tuple[nn.Module, int]] = {
    "expand in front": (net(lambda y: F.relu(y).expand(2, -1, -1, -1, -1).sum(0)), 2),
    "repeat": (net(lambda y: F.relu(y).repeat(1, 1, 2, 1)), 2),
    "einsum": (net(lambda m, y: torch.einsum("bchw,cd->bdhw", F.relu(y), m.w),
                   w=nn.Parameter(torch.randn(4, 4))), 2),
}  # fmt: skip


def assert_converts(model: nn.Module, neurons: int, **example: Any) -> None:
    ann = ecl.prepare(model, **example)
    with torch.no_grad():
        assert torch.equal(ann(X), model(X))
        assert len(clips_of(ann)) == neurons
        snn = ecl.convert(ecl.calibrate(ann, [X], method="max", progress=False))
        found, wanted = snn(X, num_steps=64), model(X)
    assert float((found - wanted).norm() / wanted.norm()) < 0.03


@pytest.mark.parametrize(("model", "neurons"), SPELLINGS.values(), ids=SPELLINGS)
def test_another_spelling_is_the_same_network(model: nn.Module, neurons: int) -> None:
    assert_converts(model, neurons)


@pytest.mark.parametrize(("model", "neurons"), SHAPED.values(), ids=SHAPED)
def test_what_needs_shapes_converts_with_an_example(model: nn.Module, neurons: int) -> None:
    with pytest.raises(UnsupportedError, match="example=images"):
        ecl.prepare(model)
    assert_converts(model, neurons, example=X)


@pytest.mark.parametrize(
    "call",
    [
        lambda y: torch.where(y > 0.1, y, 0.0),
        lambda y: torch.where(y > 0, y, -1.0),
        lambda y: torch.where(y < 0, y, 0.0),
        lambda y: F.threshold(y, 0.1, 0.0),
    ],
)
def test_what_is_no_rectifier_is_not_taken_for_one(call: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UnsupportedError):
        ecl.prepare(net(lambda y: call(F.relu(y))))


def test_parameters_keep_their_names_and_values() -> None:
    model = net(lambda m, y: m.n(m.act(y)), n=norm(NormAct, nn.ReLU()), act=nn.PReLU(4)).train()
    ann = ecl.prepare(model)
    for name, value in model.state_dict().items():
        assert torch.equal(ann.state_dict()[name], value)
    assert isinstance(ann.get_submodule("n.act"), ecl.ThresholdClip)
    ann(X).sum().backward()
    assert ann.get_parameter("act.weight").grad is not None
    assert not torch.equal(ann.get_buffer("n.running_mean"), model.get_buffer("n.running_mean"))


def test_a_slope_counts_as_synapses_and_a_norm_folds() -> None:
    model = net(lambda m, y: m.n(y), n=norm(NormAct, nn.ReLU()))
    snn = ecl.convert(ecl.calibrate(ecl.prepare(model), [X], progress=False))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in called_modules(snn))
    assert distance_at(model, X, 64) < 0.03


def called_modules(snn: ecl.SpikingNetwork) -> list[nn.Module]:
    calls = [node for node in snn.net.graph.nodes if node.op == "call_module"]
    return [snn.net.get_submodule(str(node.target)) for node in calls]
