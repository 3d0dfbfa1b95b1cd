"""The compiled activation against the plain one, and what a training step keeps."""

import copy
import io
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import ThresholdClip
from snntorch_ecl import functional as F
from snntorch_ecl.errors import ConfigError, InputError, NotPreparedError, StateError
from snntorch_ecl.fused_clip import learned_clip

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own


def values(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) * 1.5


def gradients(run: Any, x: Tensor, threshold: Tensor, levels: int | None) -> tuple[Tensor, ...]:
    x = x.detach().requires_grad_()  # the layout stays
    threshold = threshold.clone().requires_grad_()
    out = run(x, threshold, levels)
    weights = torch.linspace(-1, 1.1, out.numel(), dtype=x.dtype).view(out.shape)
    of_x, of_threshold = torch.autograd.grad((out * weights).sum(), (x, threshold))
    return out.detach(), of_x, of_threshold


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 3),
    "with gaps": lambda x: x[:, :, ::2],
}


@pytest.mark.parametrize("levels", [1, 4, 6, None])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_values_are_equal_bit_for_bit_and_gradients_to_rounding(
    levels: int | None, layout: str, per_channel: bool
) -> None:
    x = LAYOUTS[layout](values(4, 6, 8, 4))
    threshold = torch.tensor(0.9)
    if per_channel:
        threshold = torch.linspace(0.3, 2.0, x.shape[1]).view(-1, 1, 1)
    h, of_x, of_threshold = gradients(learned_clip, x, threshold, levels)
    expected, expected_of_x, expected_of_threshold = gradients(
        F.threshold_clip, x, threshold, levels
    )
    assert torch.equal(h, expected)
    assert torch.equal(of_x, expected_of_x)
    assert of_threshold.shape == threshold.shape
    torch.testing.assert_close(of_threshold, expected_of_threshold, rtol=1e-4, atol=1e-5)


def test_in_double_precision_the_gradients_are_equal() -> None:
    x, threshold = values(64, 33).double(), torch.tensor(0.9, dtype=torch.float64)
    found = gradients(learned_clip, x, threshold, 4)
    for own, plain in zip(found, gradients(F.threshold_clip, x, threshold, 4), strict=True):
        torch.testing.assert_close(own, plain, rtol=1e-12, atol=1e-12)


def test_borders_and_ties_are_those_of_the_plain_clip() -> None:
    x = torch.tensor([-1.0, 0.0, 0.125, 0.375, 0.875, 1.0, 2.0, torch.inf, -torch.inf])
    found = gradients(learned_clip, x, torch.tensor(1.0), 4)
    assert found[0].tolist() == [0, 0, 0.25, 0.5, 1, 1, 1, 1, 0]
    passes = [False, False, True, True, True, False, False, False, False]
    assert (found[1] != 0).tolist() == passes
    for own, plain in zip(found, gradients(F.threshold_clip, x, torch.tensor(1.0), 4), strict=True):
        torch.testing.assert_close(own, plain)


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_parameter_that_crossed_zero_is_reflected(per_channel: bool) -> None:
    x = values(6, 3)
    raw = torch.tensor([-0.8, 0.5, -1e-9]) if per_channel else torch.tensor(-0.8)
    h, of_x, of_raw = gradients(learned_clip, x, raw, 4)
    expected = gradients(
        lambda x, raw, levels: F.threshold_clip(x, F.positive(raw), levels), x, raw, 4
    )
    for own, plain in zip((h, of_x, of_raw), expected, strict=True):
        torch.testing.assert_close(own, plain)


# ----------------------------------------------------------------------------------- networks


def network(levels: int | None = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        ThresholdClip(levels, 1.0),
        nn.Conv2d(8, 8, 3, padding=1),
        ThresholdClip(levels, 0.7, per_channel=True),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 16, 5),
    )


def learned(net: nn.Module, images: Tensor) -> list[Tensor]:
    net.train()(images).square().sum().backward()
    return [parameter.grad for parameter in net.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("levels", [4, None])
@pytest.mark.parametrize("format_", [torch.contiguous_format, torch.channels_last])
def test_a_network_learns_the_same(levels: int | None, format_: torch.memory_format) -> None:
    images = values(6, 3, 8, 8).contiguous(memory_format=format_)
    plain, own = network(levels), ecl.fuse(network(levels))
    expected, found = learned(plain, images), learned(own, images)
    assert len(found) == len(expected) == sum(1 for _ in plain.parameters())
    for gradient, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)


def kept_bytes(net: nn.Module, images: Tensor) -> int:
    """Bytes of activations that live from the forward pass to the backward pass."""
    net.train()
    with torch.profiler.profile(profile_memory=True) as profile:
        loss = net(images).square().sum()
    del loss
    return sum(event.self_device_memory_usage + event.self_cpu_memory_usage
               for event in profile.key_averages())  # fmt: skip


def test_a_training_step_keeps_what_relus_keeps() -> None:
    images = values(64, 3, 8, 8)
    own, plain = ecl.fuse(network()), network()
    relu = nn.Sequential(*(nn.ReLU() if isinstance(m, ThresholdClip) else m for m in network()))
    for net in (own, plain, relu):
        kept_bytes(net, images)  # compiles
    one = 64 * 8 * 8 * 8 * 4  # an activation of the network
    assert kept_bytes(own, images) <= kept_bytes(relu, images) + 2000
    assert kept_bytes(plain, images) >= kept_bytes(relu, images) + 2 * one


class Between(nn.Module):
    """A clip, something else, and a layer that saves what comes out of that."""

    def __init__(self, between: Callable[[Tensor], Tensor], features: int = 6) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.clip, self.head = ThresholdClip(4, 1.0), nn.Linear(features, 2)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.between(self.clip(x)))
        return out


@pytest.mark.parametrize(
    ("between", "features"),
    [
        (lambda h: h.mul_(2.0), 6),  # the recipe no longer gives what was saved
        (lambda h: h[:, :3], 3),  # it gives more
        (lambda h: h.t(), 6),  # it gives the same memory in another order
    ],
)
def test_what_is_not_the_output_itself_is_kept_as_it_is(
    between: Callable[[Tensor], Tensor], features: int
) -> None:
    own, plain, x = ecl.fuse(Between(between, features)), Between(between, features), values(6, 6)
    for gradient, wanted in zip(learned(own, x), learned(plain, x), strict=True):
        torch.testing.assert_close(gradient, wanted)


def test_a_threshold_that_moved_before_the_backward_pass_is_refused() -> None:
    net = ecl.fuse(Between(nn.Identity()))
    loss = net.train()(values(5, 6)).square().sum()
    with torch.no_grad():
        net.clip.raw_threshold.mul_(2.0)  # an optimiser's step
    with pytest.raises(StateError, match="before the optimiser's step"):
        torch.autograd.grad(loss, net.head.weight)  # the clip's own backward pass is not run


def test_an_input_changed_in_place_is_refused() -> None:
    class Spoiled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clip, self.head = ThresholdClip(4, 1.0), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = x * 1.0
            h = self.head(self.clip(y))
            y.zero_()
            return h  # type: ignore[no-any-return]

    net = ecl.fuse(Spoiled())
    with pytest.raises(StateError, match="ThresholdClip was changed in place"):
        learned(net, values(5, 6))


def test_hooks_end_with_the_forward_pass_though_it_fails() -> None:
    net = ecl.fuse(network())
    with pytest.raises(RuntimeError):
        net(values(2, 5, 8, 8))  # five channels
    clip = next(module for module in net.modules() if isinstance(module, ThresholdClip))
    output = clip(values(3, 8, 8, 8).requires_grad_())
    saved = output.square().grad_fn._saved_self  # type: ignore[union-attr]
    # With the hooks on it would be another tensor, computed again.
    assert saved.data_ptr() == output.data_ptr()


def test_it_can_be_undone_copied_saved_and_converted() -> None:
    net = ecl.fuse(ecl.fuse(network()))  # twice is once
    assert len(net._forward_pre_hooks) == len(net._forward_hooks) == 1
    images = values(6, 3, 8, 8)
    stored = io.BytesIO()
    torch.save(net, stored)
    stored.seek(0)
    expected = learned(network(), images)
    for twin in (copy.deepcopy(net), torch.load(stored, weights_only=False), ecl.fuse(net, False)):
        for gradient, wanted in zip(learned(twin, images), expected, strict=True):
            torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)
    assert not any(m.fused for m in net.modules() if isinstance(m, ThresholdClip))
    ann = ecl.fuse(network()).eval()
    with torch.no_grad():
        spikes = ecl.convert(ann)(images, num_steps=64)
        assert torch.allclose(spikes, ecl.convert(network().eval())(images, num_steps=64))


def test_a_spiking_network_is_taken_too() -> None:
    snn = ecl.convert(network().eval())
    assert ecl.fuse(snn) is snn
    assert all(neuron.fused for neuron in snn.neurons.values())


def test_a_network_that_is_compiled_as_a_whole_keeps_less() -> None:
    images = values(64, 3, 8, 8)
    nets = {"plain": torch.compile(network()), "fused": torch.compile(ecl.fuse(network()))}
    for net in nets.values():
        kept_bytes(net, images)  # type: ignore[arg-type]  # compiles
    found = {kind: kept_bytes(net, images) for kind, net in nets.items()}  # type: ignore[arg-type]
    assert found["fused"] <= found["plain"] - 64 * 8 * 8 * 8 * 4  # an activation


def test_a_network_that_is_compiled_as_a_whole_learns_the_same() -> None:
    images = values(6, 3, 8, 8)
    own = ecl.fuse(network())
    compiled = torch.compile(own, fullgraph=True)
    compiled.train()(images).square().sum().backward()
    found = [parameter.grad for parameter in own.parameters()]
    for gradient, wanted in zip(found, learned(network(), images), strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-4)


def test_autocast_trains_a_float32_lambda() -> None:
    net, images = ecl.fuse(network()), values(6, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        loss = net.train()(images).square().sum()
    loss.backward()
    grad = net[2].raw_threshold.grad
    assert grad is not None
    assert grad.dtype == torch.float32
    assert float(grad) != 0


# -------------------------------------------------------------------------------- bad input


def test_a_network_without_clips_is_refused() -> None:
    with pytest.raises(NotPreparedError, match="Linear has no ThresholdClip"):
        ecl.fuse(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("levels", "x", "raw", "error"),
    [
        (4, torch.zeros(2, 3), torch.tensor(torch.nan), ConfigError),
        (4, torch.zeros(2, 3, dtype=torch.int64), torch.tensor(1.0), InputError),
        (4, torch.zeros(2, 3), torch.ones(2), InputError),
    ],
)
def test_bad_input_is_refused_as_by_the_plain_clip(
    levels: int, x: Tensor, raw: Tensor, error: type[Exception]
) -> None:
    net = ecl.fuse(nn.Sequential(ThresholdClip(levels, 1.0)))
    net[0].raw_threshold.data = raw
    with pytest.raises(error):
        net(x)


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_it_says_so_once_and_trains() -> None:
    images = values(6, 3, 8, 8)
    with pytest.warns(UserWarning, match="nothing can be compiled for 'cpu'"):
        found = learned(ecl.fuse(network()), images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for gradient, wanted in zip(found, learned(network(), images), strict=True):
            assert torch.equal(gradient, wanted)
