"""Bias correction: means match layer by layer, and nothing else is touched."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.conversion._compensate import compensate
from tests.helpers.residual import (
    METHODS,
    STEPS,
    changed,
    converted,
    fitted,
    images,
    mean_errors,
    relu_network,
)

# What corrections do, however they are judged; tests/conversion/test_compensation.py judges them.
pytestmark = pytest.mark.usefixtures("all_kept")


def test_every_layer_spikes_on_average_as_its_ann_activates() -> None:
    model = relu_network()
    snn = converted(model)
    better = compensate(
        snn, model, images().split(30), num_steps=STEPS, method="biases", progress=False
    )
    before = mean_errors(copy.deepcopy(snn), copy.deepcopy(model))
    after = mean_errors(better, model)
    assert max(before.values()) > 0.03  # there was something to correct
    for name in ("relu", "relu1", "relu2"):
        assert after[name] < 0.1 * max(before.values()), (name, before, after)


@pytest.mark.parametrize("method", METHODS)
def test_the_mean_logits_match(method: Any) -> None:
    model = relu_network()
    better = compensate(
        converted(model), model, [images()], num_steps=STEPS, method=method, progress=False
    )
    with torch.no_grad():
        x = fitted(images())
        expected, found = model(x).mean(0), better(x, num_steps=STEPS).mean(0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


BIASES = {"net.stem.bias", "net.conv1.bias", "net.conv2.bias", "net.fc.bias"}


@pytest.mark.parametrize(
    ("method", "expected"),
    [("biases", BIASES), ("weights", BIASES | {n.replace("bias", "weight") for n in BIASES})],
)
def test_only_what_the_method_says_changes_and_the_network_given_stays(
    method: Any, expected: set[str]
) -> None:
    model = relu_network()
    snn = converted(model)
    before = copy.deepcopy(snn.state_dict())
    better = compensate(snn, model, [images()], num_steps=STEPS, method=method, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in snn.state_dict().items())
    after = better.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    # The stem computes what the ANN computes, and needs no other weights.
    assert changed >= expected - {"net.stem.weight", "net.stem.bias"}
    assert changed <= expected
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in better.modules())


@pytest.mark.parametrize("method", METHODS)
def test_it_can_be_kept(method: Any, tmp_path: Path) -> None:
    model = relu_network()
    better = compensate(
        converted(model), model, [images()], num_steps=STEPS, method=method, progress=False
    )
    back = ecl.load(better.save(tmp_path / "a.safetensors"), model)
    x = images()[:5]
    with torch.no_grad():
        assert torch.equal(back(x, num_steps=STEPS), better(x, num_steps=STEPS))


@pytest.mark.parametrize("method", METHODS)
def test_a_prepared_network_will_do_as_reference(method: Any) -> None:
    model = relu_network()
    one, other = (
        compensate(
            converted(model), ann, [images()], num_steps=STEPS, method=method, progress=False
        )
        for ann in (model, ecl.prepare(model))
    )
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value)


def test_a_shared_convolution_is_left_alone() -> None:
    """Its bias would reach two layers at once."""
    torch.manual_seed(0)
    shared = nn.Conv2d(2, 2, 3, padding=1)
    model = nn.Sequential(
        shared, nn.ReLU(), shared, nn.ReLU(), nn.Flatten(), nn.Linear(128, 3)
    ).eval()
    assert changed(model, images(), method="weights") == {"net.5.weight", "net.5.bias"}


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
    for method in ("biases", "weights"):
        better = compensate(snn, model, [images()], num_steps=STEPS, method=method, progress=False)
        assert torch.equal(better.net.conv.bias, snn.net.conv.bias)
        assert torch.equal(better.net.conv.weight, snn.net.conv.weight)


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


@pytest.mark.parametrize("tokens", [4, 6])
@pytest.mark.parametrize("method", ["biases", "weights"])
def test_a_norm_over_tokens_has_its_bias_along_the_features(method: Any, tokens: int) -> None:
    """The constant stem is the ANN's already, so only the last layer has anything to correct."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.LayerNorm(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * tokens, 3)
    ).eval()  # fmt: skip
    nn.init.uniform_(model[0].bias)  # type: ignore[arg-type]
    x = torch.randn(50, tokens, 4, generator=torch.Generator().manual_seed(2))
    snn = ecl.convert(ecl.calibrate(ecl.prepare(model), [x], progress=False))
    better = compensate(snn, model, [x], num_steps=STEPS, method=method, progress=False)
    torch.testing.assert_close(better.net.get_parameter("0.bias"), model[0].bias)  # type: ignore[arg-type]
    assert better.compensation.kept
