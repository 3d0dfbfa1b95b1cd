"""Training all of a spiking network at once: its gradients, and what it brings."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.conversion._distill import varied
from snntorch_ecl.conversion._rates import Replay, measured
from snntorch_ecl.errors import ConfigError
from tests.helpers.residual import STEPS, images, relu_network


class Pooled(nn.Module):
    """Max-pooling, concatenation and a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1, self.pool = nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2)
        self.conv2, self.relu2, self.fc = nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Linear(72, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu1(self.conv1(x)))
        out: Tensor = self.fc(torch.cat([x, self.relu2(self.conv2(x))], 1).flatten(1))
        return out


def clipped(model: nn.Module, **settings: Any) -> nn.Module:
    ann = ecl.prepare(model.eval(), levels=STEPS, **settings)
    return ecl.calibrate(ann, [images()], num_steps=STEPS, progress=False)


def distilled(snn: ecl.SpikingNetwork, ann: nn.Module, **settings: Any) -> ecl.SpikingNetwork:
    return ecl.compensate(
        snn, ann, [images()], num_steps=STEPS, method="distill", progress=False, **settings
    )


@pytest.mark.parametrize("model", [relu_network, Pooled])
@pytest.mark.parametrize("unit_spikes", [False, True])
def test_means_pass_through_a_network_as_its_spikes_do(model: Any, unit_spikes: bool) -> None:
    torch.manual_seed(0)
    snn = ecl.convert(clipped(model(), per_channel=True), unit_spikes=unit_spikes)
    x = images()[:5]
    with torch.no_grad():
        output, means = measured(snn, x, STEPS)
        torch.testing.assert_close(output, snn(x, num_steps=STEPS))
        snn(-x, num_steps=STEPS)  # what pooling remembers of other images must not matter
        found, replayed = Replay(snn, {}, STEPS).means(x, means)
    torch.testing.assert_close(found, output, rtol=1e-4, atol=1e-5)
    for name, mean in means.items():
        torch.testing.assert_close(replayed[name], mean)


@pytest.mark.parametrize("per_channel", [False, True])
def test_with_constant_currents_outputs_and_gradients_are_those_of_the_clipped_network(
    per_channel: bool,
) -> None:
    """The clipped network, with T = L levels, and torch's own backward pass say what is right."""
    convolutions = nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.ReLU()
    model = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(48, 3))
    ann = clipped(model, per_channel=per_channel)
    snn, x = ecl.convert(ann), images()[:6]
    thetas = {name: n.threshold.clone().requires_grad_() for name, n in snn.neurons.items()}
    output, _ = Replay(snn, thetas, STEPS).means(x, None)
    clips = {name: ann.get_submodule(name) for name in thetas}
    expected = ann(x)
    torch.testing.assert_close(output, expected)
    output.square().sum().backward()
    expected.square().sum().backward()
    for name, parameter in snn.net.named_parameters():
        torch.testing.assert_close(parameter.grad, ann.get_parameter(name).grad)
    for name, theta in thetas.items():
        raw = clips[name].get_parameter("raw_threshold")
        assert theta.grad is not None
        assert raw.grad is not None
        # The clip learns a raw parameter; the chain rule brings its gradient back to λ.
        (slope,) = torch.autograd.grad(ecl.functional.positive(raw).sum(), raw)
        torch.testing.assert_close(theta.grad * slope.view_as(theta), raw.grad.view_as(theta))


def test_images_are_mirrored_and_shifted_and_nothing_else_is() -> None:
    """Every varied image is a part of the image with its border reflected, mirrored or not."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(40, 2, 8, 16)
    framed = nn.functional.pad(images, (2, 2, 1, 1), mode="reflect")
    found = varied(images, generator)
    kinds = set()
    for image, frame in zip(found, framed, strict=True):
        parts = {
            (top, left, flip): frame[:, top : top + 8, left : left + 16].flip([2] if flip else [])
            for top in range(3)
            for left in range(5)
            for flip in (False, True)
        }
        kinds |= {kind for kind, part in parts.items() if torch.equal(part, image)}
    assert len(kinds) > 15
    assert {flip for *_, flip in kinds} == {False, True}
    for others in (torch.rand(3, 8), torch.ones(2, 1, 8, 8, dtype=torch.int64)):
        assert varied(others, generator) is others


def error(snn: ecl.SpikingNetwork, model: nn.Module) -> float:
    """On images that nothing was fitted to or judged by."""
    x = torch.randn(200, 2, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        wanted = model(x)
        return float((snn(x, num_steps=STEPS) - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("unit_spikes", [False, True])
def test_it_brings_fresh_images_closer_and_changes_nothing_that_was_given(
    unit_spikes: bool,
) -> None:
    model = relu_network()
    snn = ecl.convert(clipped(model, per_channel=True), unit_spikes=unit_spikes)
    given = copy.deepcopy(snn.state_dict()), copy.deepcopy(model.state_dict())
    better = distilled(snn, model, epochs=4)
    record = better.compensation
    assert record.kept
    assert record.after < record.before
    assert (record.fitted, record.held_out) == (70, 10)
    assert [layer.name for layer in record.layers] == ["relu", "relu1", "relu2", "output"]
    assert error(better, model) < 0.9 * error(snn, model)
    for state, network in zip(given, (snn, model), strict=True):
        for name, value in network.state_dict().items():
            assert torch.equal(value, state[name]), name
    assert all(p.requires_grad and p.grad is None for p in better.parameters())


def test_errors_do_not_depend_on_what_a_spike_is_called() -> None:
    model = relu_network()
    ann = clipped(model, per_channel=True)
    records = [
        distilled(ecl.convert(ann, unit_spikes=unit), model, epochs=1).compensation
        for unit in (False, True)
    ]
    for layer, same in zip(*(record.layers for record in records), strict=True):
        assert layer.before == pytest.approx(same.before, rel=0.05), layer.name


def test_spikes_stay_worth_the_threshold_and_a_file_holds_all(tmp_path: Any) -> None:
    model = relu_network()
    snn = ecl.convert(clipped(model))
    better = distilled(snn, model, epochs=2)
    for name, neuron in better.neurons.items():
        assert torch.equal(neuron.threshold, neuron.graded_spikes_factor)
        assert not torch.equal(neuron.threshold, snn.neurons[name].threshold)
    better.save(tmp_path / "net.safetensors")
    again = ecl.load(tmp_path / "net.safetensors", model)
    x = images()[:3]
    assert torch.equal(again(x, num_steps=STEPS), better(x, num_steps=STEPS))


def test_what_is_best_on_images_held_out_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps so large that every epoch is worse than the network was."""
    monkeypatch.setattr("snntorch_ecl.conversion._distill._RATE", 10.0)
    model = relu_network()
    snn = ecl.convert(clipped(model, per_channel=True))
    with pytest.warns(UserWarning, match="returned as it was"):
        same = distilled(snn, model, epochs=1)
    assert same.compensation.after == same.compensation.before
    assert not same.compensation.kept
    for name, value in snn.state_dict().items():
        assert torch.equal(same.state_dict()[name], value), name


def test_it_is_reproducible() -> None:
    model = relu_network()
    snn = ecl.convert(clipped(model))
    one, two = (distilled(snn, model, epochs=1) for _ in range(2))
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name


def test_epochs_are_checked() -> None:
    model = relu_network()
    with pytest.raises(ConfigError, match="epochs"):
        distilled(ecl.convert(clipped(model)), model, epochs=0)
