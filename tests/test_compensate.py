"""Bias correction: means match layer by layer, and nothing else is touched."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.compensate import compensate
from snntorch_ecl.errors import ConfigError, DataError

STEPS = 4


class Residual(nn.Module):
    """A stem, one residual block and a readout, as in a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.relu = (
            nn.Conv2d(2, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
        )
        self.conv1, self.relu1 = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
        self.conv2, self.relu2 = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x)))
        x = self.relu2(self.conv2(self.relu1(self.conv1(x))) + x)
        out: Tensor = self.fc(x.mean((2, 3)))
        return out


def relu_network() -> nn.Module:
    torch.manual_seed(4)
    model = Residual()
    model.train()(images())
    return model.eval()


def images() -> Tensor:
    return torch.randn(80, 2, 8, 8, generator=torch.Generator().manual_seed(2))


def converted(model: nn.Module) -> ecl.SpikingNetwork:
    ann = ecl.calibrate(ecl.prepare(model), [images()], method="max", progress=False)
    return ecl.convert(ann)


def mean_errors(snn: ecl.SpikingNetwork, model: nn.Module) -> dict[str, float]:
    """Distance of each layer's mean spikes from its mean activations, channel by channel."""
    seen: dict[str, Tensor] = {}
    for name, module in [*model.named_modules(), *snn.neurons.items()]:
        key = f"snn {name}" if isinstance(module, ecl.DualThreshold) else f"ann {name}"
        module.register_forward_hook(lambda m, a, out, key=key: seen.__setitem__(key, out))
    with torch.no_grad():
        model(images())
        snn(images(), num_steps=STEPS)
    errors = {}
    for name in snn.neurons:
        spikes, activation = (seen[f"{kind} {name}"].mean((0, 2, 3)) for kind in ("snn", "ann"))
        errors[name] = float((spikes - activation).norm() / activation.norm())
    return errors


def test_every_layer_spikes_on_average_as_its_ann_activates() -> None:
    model = relu_network()
    snn = converted(model)
    better = compensate(snn, model, images().split(30), num_steps=STEPS, progress=False)
    before = mean_errors(copy.deepcopy(snn), copy.deepcopy(model))
    after = mean_errors(better, model)
    assert max(before.values()) > 0.03  # there was something to correct
    for name in ("relu", "relu1", "relu2"):
        assert after[name] < 0.1 * max(before.values()), (name, before, after)


def test_the_mean_logits_match() -> None:
    model = relu_network()
    better = compensate(converted(model), model, [images()], num_steps=STEPS, progress=False)
    with torch.no_grad():
        expected, found = model(images()).mean(0), better(images(), num_steps=STEPS).mean(0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_only_biases_change_and_the_network_given_stays() -> None:
    model = relu_network()
    snn = converted(model)
    before = copy.deepcopy(snn.state_dict())
    better = compensate(snn, model, [images()], num_steps=STEPS, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in snn.state_dict().items())
    after = better.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"net.stem.bias", "net.conv1.bias", "net.conv2.bias", "net.fc.bias"}
    assert not any(m._forward_pre_hooks for m in better.modules())


def test_it_can_be_kept(tmp_path: Path) -> None:
    model = relu_network()
    better = compensate(converted(model), model, [images()], num_steps=STEPS, progress=False)
    back = ecl.load(better.save(tmp_path / "a.safetensors"), model)
    x = images()[:5]
    with torch.no_grad():
        assert torch.equal(back(x, num_steps=STEPS), better(x, num_steps=STEPS))


def test_a_prepared_network_will_do_as_reference() -> None:
    model = relu_network()
    prepared = ecl.prepare(model)
    one = compensate(converted(model), model, [images()], num_steps=STEPS, progress=False)
    other = compensate(converted(model), prepared, [images()], num_steps=STEPS, progress=False)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value)


def test_a_shared_convolution_is_left_alone() -> None:
    """Its bias would reach two layers at once."""
    torch.manual_seed(0)
    shared = nn.Conv2d(2, 2, 3, padding=1)
    model = nn.Sequential(
        shared, nn.ReLU(), shared, nn.ReLU(), nn.Flatten(), nn.Linear(128, 3)
    ).eval()
    snn = converted(model)
    better = compensate(snn, model, [images()], num_steps=STEPS, progress=False)
    changed = {
        name
        for name, value in better.state_dict().items()
        if not torch.equal(value, snn.state_dict()[name])
    }
    assert changed == {"net.5.bias"}


def test_a_value_that_goes_elsewhere_too_takes_no_bias_along() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.fc = nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            out: Tensor = self.fc((self.relu(x) + x).mean((2, 3)))
            return out

    model = Twice().eval()
    snn = converted(model)
    better = compensate(snn, model, [images()], num_steps=STEPS, progress=False)
    assert torch.equal(better.net.conv.bias, snn.net.conv.bias)


def changed(model: nn.Module, data: Tensor) -> set[str]:
    """Names of what compensation changes in a network made from a ReLU network."""
    ann = ecl.calibrate(ecl.prepare(model.eval()), [data], method="max", progress=False)
    snn = ecl.convert(ann)
    before = snn.state_dict()
    after = compensate(snn, model, [data], num_steps=STEPS, progress=False).state_dict()
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def test_a_linear_layer_over_tokens_is_left_alone() -> None:
    """Its bias is one for each feature; as many tokens as features would hide the mistake."""
    torch.manual_seed(0)
    layers = (nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Flatten())
    tokens = torch.randn(50, 4, 5, generator=torch.Generator().manual_seed(2))
    assert changed(nn.Sequential(*layers, nn.Linear(16, 3)), tokens) == {"net.5.bias"}


def test_a_bias_that_two_layers_share_is_left_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)
    )
    model[2].bias = model[0].bias
    assert changed(model, images()) == {"net.5.bias"}


def test_an_addition_that_scales_is_not_looked_through() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(2, 2, 3, padding=1), nn.ReLU()
            self.fc = nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(torch.add(x, self.conv(x), alpha=3))
            out: Tensor = self.fc(x.mean((2, 3)))
            return out

    assert changed(Scaled(), images()) == {"net.fc.bias"}


def test_bad_input_is_refused() -> None:
    model = relu_network()
    snn = converted(model)
    with pytest.raises(DataError, match="the data is empty"):
        compensate(snn, model, [], num_steps=4)
    with pytest.raises(ConfigError, match="num_steps"):
        compensate(snn, model, [images()], num_steps=0)
    other = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU())
    with pytest.raises(ConfigError, match="no activation relu, relu1, relu2: give the network"):
        compensate(snn, other, [images()], num_steps=4)
