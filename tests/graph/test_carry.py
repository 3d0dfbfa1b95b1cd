"""What is not affine converts, as modules and as functions: behind one layer of neurons, exactly.

At T = L a layer of neurons is exact, so the network's output is f of what its ANN gives f.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import UnsupportedError
from snntorch_ecl.nn import Difference
from tests.helpers.parts import close, wired

LEVELS = 4
X = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(1))
pytestmark = pytest.mark.usefixtures("seeded")


def around(operation: Callable[..., Any], **parts: Any) -> nn.Module:
    """Images through neurons and a convolution, then the operation."""

    def forward(m: Any, x: Tensor) -> Any:
        y = m.mix(m.clip(m.conv(x)))
        return operation(m, y) if parts else operation(y)

    torch.manual_seed(0)
    common = {"conv": nn.Conv2d(4, 4, 1), "mix": nn.Conv2d(4, 4, 1)}
    return wired(forward, clip=ecl.ThresholdClip(LEVELS, 0.75), **common, **parts).eval()


def module(layer: nn.Module) -> nn.Module:
    return around(lambda m, y: m.f(y), f=layer)


class ChannelNorm(nn.LayerNorm):
    """As timm's and torchvision's LayerNorm2d."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class NormAct(nn.GroupNorm):
    """As timm's GroupNormAct."""

    def __init__(self) -> None:
        super().__init__(2, 4)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps))


def gate(m: Any, y: Tensor) -> Tensor:
    """As squeeze-and-excitation."""
    return y * m.gate(F.silu(m.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()


def attention(m: Any, y: Tensor) -> Tensor:
    q, k, v = m.qkv(y.flatten(2).transpose(1, 2)).chunk(3, dim=-1)
    return torch.softmax(q @ k.transpose(-2, -1) / 2.0, dim=-1) @ v


MODULES: dict[str, nn.Module] = {
    type(layer).__name__: module(layer)
    for layer in (
        nn.SiLU(inplace=True), nn.Hardswish(), nn.Hardsigmoid(), nn.Sigmoid(), nn.GELU("tanh"),
        nn.Tanh(), nn.ELU(), nn.Mish(), nn.Softplus(), nn.Softmax(1), nn.LogSoftmax(-1), nn.GLU(1),
        nn.LayerNorm([6]), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.RMSNorm(6),
        nn.LocalResponseNorm(2), ChannelNorm(4), NormAct(),
    )
}  # fmt: skip
FUNCTIONS: dict[str, nn.Module] = {
    "F.silu": around(lambda y: F.silu(y, inplace=True)),
    "y.sigmoid": around(lambda y: y.sigmoid()),
    "y.sigmoid_": around(lambda y: y.sigmoid_()),
    "F.gelu": around(lambda y: F.gelu(y, approximate="tanh")),
    "F.softmax": around(lambda y: F.softmax(y, dim=1)),
    "log_softmax": around(lambda y: y.log_softmax(-1)),
    "F.layer_norm": around(lambda y: F.layer_norm(y, (6, 6))),
    "F.layer_norm, weights": around(lambda m, y: F.layer_norm(y, (6,), m.w), w=nn.Parameter(
        torch.rand(6))),
    "F.group_norm": around(lambda y: F.group_norm(y, 2)),
    "F.normalize": around(lambda y: F.normalize(y, dim=1)),
    "y * y": around(lambda y: y * y),
    "y ** 2": around(lambda y: y**2),
    "y.amax": around(lambda y: y.amax((2, 3))),
    "max(dim)[0]": around(lambda y: torch.max(y, 1)[0]),
    "max(dim).values": around(lambda y: y.max(dim=1, keepdim=True).values),
    "addcmul": around(lambda y: torch.addcmul(y, y, y.flip(1))),
    "a norm by hand": around(lambda y: y * (y.var(1, keepdim=True) + 1e-2).rsqrt()),
    "a quotient": around(lambda y: y / (1 + y.abs())),
    "torch.div": around(lambda y: torch.div(input=1, other=2 + y.square())),
    "torch.maximum": around(lambda y: torch.maximum(y, y.flip(1))),
    "pooled to one": around(lambda y: F.max_pool1d(y.flatten(2), 36).squeeze(2)),
    "a gate": around(gate, squeeze=nn.Conv2d(4, 2, 1), gate=nn.Conv2d(2, 4, 1)),
    "attention": around(attention, qkv=nn.Linear(4, 12)),
    "the input gates": wired(
        lambda m, x: m.clip(m.conv(x)) * x.sigmoid(),
        conv=nn.Conv2d(4, 4, 1), clip=ecl.ThresholdClip(LEVELS, 0.75),
    ).eval(),
}  # fmt: skip
ALL = {**MODULES, **FUNCTIONS}


@pytest.mark.parametrize("model", ALL.values(), ids=ALL)
def test_behind_one_layer_of_neurons_it_is_exact(model: nn.Module) -> None:
    snn = ecl.convert(model)
    assert any(isinstance(m, Difference) for m in snn.modules())
    with torch.no_grad():
        expected = model(X)
        assert close(snn(X, num_steps=LEVELS), expected, 1e-5)
        snn.reset()
        stepped = sum(snn.step(X) for _ in range(LEVELS)) / LEVELS
        assert close(stepped, expected, 1e-5)
        assert close(snn(X, num_steps=LEVELS, piece=3), expected, 1e-5)


def test_with_an_example_fused_attention_is_exact() -> None:
    def fused(m: Any, y: Tensor) -> Tensor:
        b, n, c = (tokens := y.flatten(2).transpose(1, 2)).shape
        q, k, v = m.qkv(tokens).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)

    model = around(fused, qkv=nn.Linear(4, 12))
    snn = ecl.convert(model, example=X)
    with torch.no_grad():
        assert close(snn(X, num_steps=LEVELS), model(X), 1e-5)


def test_an_einsum_of_two_streams_needs_an_example() -> None:
    model = around(lambda y: torch.einsum("bchw,bdhw->bcd", y, y))
    with pytest.raises(UnsupportedError, match="example=images"):
        ecl.convert(model)
    with torch.no_grad():
        assert close(ecl.convert(model, example=X)(X, num_steps=LEVELS), model(X), 1e-5)


def test_a_quotient_is_0_until_its_divisor_is_not() -> None:
    """At 0.3 θ, a neuron first spikes at the second step; 0 / 0 is not a number."""
    model = wired(lambda m, x: (1 + (y := m.clip(x))) / y.sum(1, keepdim=True),
                  clip=ecl.ThresholdClip(LEVELS, 1.0)).eval()  # fmt: skip
    x = torch.tensor([[0.3, 0.3, 0.45]])  # v = 0.5 + 0.3 t and 0.5 + 0.45 t, less the spikes
    found = ecl.convert(model).logits_over_time(x, num_steps=LEVELS)
    counts = torch.tensor([[1.0, 1.0, 2.0]])
    expected = (LEVELS + counts) / counts.sum()
    assert found.isfinite().all()
    assert close(found[-1], expected, 1e-6)
    assert found[0].tolist() == [[0.0, 0.0, 0.0]]
    learning = ecl.convert(model)
    weights = x.clone().requires_grad_()
    learning(weights, num_steps=LEVELS).square().sum().backward()
    assert weights.grad is not None
    assert weights.grad.isfinite().all()


# ------------------------------------------------------------------------ before and after


def test_before_the_first_neuron_all_stays_as_it_is() -> None:
    model = wired(
        lambda m, x: m.clip(m.conv(F.silu(m.norm(x)) * x.sigmoid() / (1 + x.abs()))),
        norm=nn.GroupNorm(2, 4), conv=nn.Conv2d(4, 4, 1), clip=ecl.ThresholdClip(LEVELS, 0.75),
    ).eval()  # fmt: skip
    snn = ecl.convert(model)
    assert not any(isinstance(m, Difference) for m in snn.modules())
    with torch.no_grad():
        assert close(snn(X, num_steps=LEVELS), model(X), 1e-6)


def test_a_layer_called_before_and_behind_the_neuron() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.act(m.clip(m.conv(m.act(x))))

    clip = ecl.ThresholdClip(LEVELS, 0.75)
    model = wired(forward, act=nn.Tanh(), conv=nn.Conv2d(4, 4, 1), clip=clip).eval()
    with torch.no_grad():
        assert close(ecl.convert(model)(X, num_steps=LEVELS), model(X), 1e-5)


def test_an_lstm_in_front_may_be_kept(clean_registry: None) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        states, (last, _) = m.lstm(x.flatten(2).transpose(1, 2))
        return m.clip(m.fc(states[:, -1] + last[0]))

    lstm = nn.LSTM(4, 5, batch_first=True)
    clip = ecl.ThresholdClip(LEVELS, 0.75)
    model = wired(forward, lstm=lstm, fc=nn.Linear(5, 3), clip=clip).eval()
    ecl.register(nn.LSTM)(ecl.keep)
    with torch.no_grad():
        assert close(ecl.convert(model, example=X)(X, num_steps=LEVELS), model(X), 1e-5)


def test_a_users_handler_wins_over_the_difference(clean_registry: None) -> None:
    neuron = ecl.DualThreshold(1.0, init_hidden=True)
    ecl.register(nn.GELU)(lambda module, site: neuron)
    assert "f" in ecl.convert(module(nn.GELU())).neurons
    assert "f" in ecl.convert(module(nn.SiLU()), handlers={nn.SiLU: lambda m, s: neuron}).neurons


def test_at_the_end_a_softmax_acts_on_the_mean() -> None:
    model = around(lambda m, y: m.fc(y.mean((2, 3))).softmax(-1), fc=nn.Linear(4, 3))
    logits = around(lambda m, y: m.fc(y.mean((2, 3))), fc=model.fc)
    logits.load_state_dict(model.state_dict())
    with torch.no_grad():
        found = ecl.convert(model).logits_over_time(X, num_steps=6)
        means = ecl.convert(logits).logits_over_time(X, num_steps=6)
    assert close(found, means.softmax(-1), 1e-5)


def test_the_error_falls_with_t_through_several_layers() -> None:
    layers = [nn.Conv2d(4, 8, 3), nn.ReLU(), nn.GroupNorm(2, 8), nn.Conv2d(8, 8, 1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.SiLU(), nn.Flatten(), nn.Linear(128, 3)).eval()
    ann = ecl.calibrate(ecl.prepare(model), [X], method="max", progress=False)
    with torch.no_grad():
        found, wanted = ecl.convert(ann).logits_over_time(X, num_steps=128), model(X)
    errors = [float((found[t] - wanted).norm() / wanted.norm()) for t in (1, 15, 127)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.04


def test_it_lives_through_files_units_and_early_exit() -> None:
    model = around(lambda m, y: m.fc(gate(m, y).mean((2, 3))), squeeze=nn.Conv2d(4, 2, 1),
                   gate=nn.Conv2d(2, 4, 1), fc=nn.Linear(4, 3))  # fmt: skip
    snn = ecl.convert(model)
    units = ecl.convert(model, unit_spikes=True)
    with torch.no_grad():
        expected = snn(X, num_steps=LEVELS)
        assert close(pickle.loads(pickle.dumps(snn))(X, num_steps=LEVELS), expected, 1e-6)
        assert close(units(X, num_steps=LEVELS), expected, 1e-5)
        assert snn.predict(X, max_steps=4, confidence=0.4).classes.shape == (3,)


@pytest.mark.parametrize(
    "operation",
    [
        lambda y: y.softmax(0),
        lambda y: F.normalize(y, dim=0),
        lambda y: y.sort(1)[0],
        lambda y: y.amax(),
    ],
)
def test_what_mixes_images_is_refused(
    operation: Callable[[Tensor], Any],
) -> None:
    for example in ({}, {"example": X}):
        with pytest.raises(UnsupportedError):
            ecl.convert(around(operation), **example)
