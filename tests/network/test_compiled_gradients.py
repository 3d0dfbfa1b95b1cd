"""A compiler that loses gradients is found out before a training begins, and nothing changes."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import StateError
from snntorch_ecl.network._compiled_gradients import check_compiled_gradients
from tests.helpers.compilers import lossy
from tests.helpers.parts import clips_of

Call = Callable[[Tensor], Tensor]


class Net(nn.Module):
    """Two layers; what stands between them can be tampered with."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(6, 32), nn.BatchNorm1d(32)
        self.clip, self.drop = ecl.ThresholdClip(levels=None), nn.Dropout(dropout)
        self.last = nn.Linear(32, 3)
        self.calls = 0

    def forward(self, x: Tensor, between: Call = lambda x: x) -> Tensor:
        self.calls += 1
        out: Tensor = self.last(self.drop(self.clip(between(self.norm(self.first(x))))))
        return out


@pytest.fixture
def images() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(64, 6)


def check(net: Net, images: Tensor, between: Call) -> None:
    check_compiled_gradients(
        net, lambda: net(images).square().mean(), lambda: net(images, between).square().mean()
    )


class Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:  # type: ignore[override]
        return -grad


WRONG: dict[str, Call] = {"vanished": lambda x: x.detach(), "turned": Turned.apply}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_first_layer_with_another_gradient_is_named(images: Tensor, wrong: str) -> None:
    with pytest.raises(StateError, match=r"2 of 4 layers .* first is 'first'") as found:
        check(Net(), images, WRONG[wrong])
    assert f"compiled by torch {torch.__version__}" in str(found.value)
    assert "compile: false" in str(found.value)


def test_a_gradient_that_vanished_is_found_beside_dropout(images: Tensor) -> None:
    with pytest.raises(StateError, match="length 0, in plain code"):
        check(Net(dropout=0.5), images, WRONG["vanished"])


def test_a_compiler_that_loses_all_gradients_is_found_out(images: Tensor) -> None:
    net = Net()
    torch.compiler.reset()
    compiled = torch.compile(net.__call__, backend=lossy)
    with pytest.raises(StateError, match="first is 'first': its gradient has length 0,"):
        check_compiled_gradients(net, lambda: net(images).mean(), lambda: compiled(images).mean())


def test_other_random_numbers_and_rounding_are_no_difference(images: Tensor) -> None:
    net = Net(dropout=0.5)

    def other_mask() -> Tensor:
        torch.rand(1)
        return net(images.bfloat16().float()).square().mean()

    check_compiled_gradients(net, lambda: net(images).square().mean(), other_mask)


class Gain(nn.Module):
    """A layer of one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))


@pytest.mark.parametrize("turned", [1, 20])
def test_the_direction_of_single_parameters_is_judged_together(turned: int) -> None:
    gains = nn.ModuleList(Gain() for _ in range(20))

    def loss(turned: int) -> Tensor:
        signs = torch.ones(20)
        signs[:turned] = -1  # as rounding may turn the gradient of one threshold
        return torch.stack([layer.gain for layer in gains]).mul(signs).sum()

    if turned == 1:
        assert check_compiled_gradients(gains, lambda: loss(0), lambda: loss(turned))
    else:
        with pytest.raises(StateError, match="'thresholds and other single parameters'"):
            check_compiled_gradients(gains, lambda: loss(0), lambda: loss(turned))


def test_the_network_and_random_numbers_are_as_before(images: Tensor) -> None:
    net = Net(dropout=0.5)
    net(images)  # the threshold follows from now on
    net(100 * images).sum().backward()
    (clip,) = clips_of(net).values()
    assert clip.follows
    values = copy.deepcopy(net.state_dict())
    gradients = [p.grad.clone() for p in net.parameters()]  # type: ignore[union-attr]
    random, calls = torch.get_rng_state(), net.calls
    check(net, 1000 * images, lambda x: x)
    assert torch.equal(torch.get_rng_state(), random)
    assert net.calls == calls
    assert net.state_dict().keys() == values.keys()
    for name, value in net.state_dict().items():
        assert torch.equal(value, values[name]), name
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, gradient)


def test_without_memory_to_compare_it_says_that_it_did_not(images: Tensor) -> None:
    net = Net()

    def too_large() -> Tensor:
        raise torch.OutOfMemoryError("no room")

    with pytest.warns(UserWarning, match="could not be checked: plain code, .* more memory"):
        checked = check_compiled_gradients(net, too_large, lambda: net(images).mean())
    assert checked is False
    assert check_compiled_gradients(net, lambda: net(images).mean(), lambda: net(images).mean())
