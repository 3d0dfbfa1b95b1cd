"""One call from a ReLU network to a spiking one."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError, DataError, UnsupportedError
from tests.helpers.residual import images, relu_network

STEPS = 4


def batches() -> list[Tensor]:
    return list(torch.split(images(), 16))


def made(budget: Any) -> ecl.SpikingNetwork:
    return ecl.convert_pretrained(
        relu_network(), batches(), num_steps=STEPS, budget=budget, progress=False
    )


def error(snn: ecl.SpikingNetwork) -> float:
    """On images that nothing was fitted to or judged by."""
    x = torch.randn(200, 2, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        wanted = relu_network()(x)
        return float((snn(x, num_steps=STEPS) - wanted).norm() / wanted.norm())


def test_fast_is_calibrated_with_thresholds_that_are_larger_where_that_helps() -> None:
    ann = ecl.prepare(relu_network(), per_channel=True)
    calibrated = ecl.convert(ecl.calibrate(ann, batches(), num_steps=STEPS, progress=False))
    found = made("fast")
    assert found.state_dict().keys() == calibrated.state_dict().keys()
    factors = {
        float(ratio)
        for name, neuron in found.neurons.items()
        for ratio in (neuron.threshold / calibrated.neurons[name].threshold).flatten()
    }
    assert max(factors) - min(factors) < 1e-5
    assert min(factors) >= 1
    assert error(found) <= error(calibrated)


@pytest.mark.parametrize(("budget", "method"), [("good", "weights"), ("best", "distill")])
def test_more_budget_brings_fresh_images_closer(budget: Any, method: str) -> None:
    fast, better = made("fast"), made(budget)
    assert fast.compensation is None
    assert better.compensation.kept
    assert better.compensation.method == method
    assert error(better) < 0.9 * error(fast)


def test_the_users_network_stays_as_it_was() -> None:
    model = relu_network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ecl.convert_pretrained(model, batches(), num_steps=2, progress=False)
    assert isinstance(model.relu, nn.ReLU)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_arguments_reach_the_pieces() -> None:
    snn = ecl.convert_pretrained(
        relu_network(),
        [{"x": x} for x in batches()],
        num_steps=2, budget="fast", negative_threshold=-0.25, key="x", progress=False,
    )  # fmt: skip
    assert {neuron.negative_threshold for neuron in snn.neurons.values()} == {-0.25}


class Attending(nn.Module):
    """Tokens that attend to each other; the code asks for sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.both, self.last = nn.Linear(8, 8), nn.Linear(8, 16), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, *sizes = x.shape
        assert sizes == [8, 8]
        tokens = nn.functional.gelu(self.first(x.reshape(batch, channels * 8, 8)))
        keys, values = self.both(tokens).chunk(2, 2)
        mixed = (tokens @ keys.transpose(1, 2)).softmax(2) @ values
        out: Tensor = self.last(mixed.mean(1))
        return out


@pytest.mark.filterwarnings("ignore:compensate.*no closer:UserWarning")
@pytest.mark.parametrize("budget", ["good", "best"])
def test_attention_takes_signed_spikes_and_an_example(budget: Any) -> None:
    torch.manual_seed(0)
    model, x = Attending().eval(), images()
    snn = ecl.convert_pretrained(
        model, batches(), num_steps=8, budget=budget, signed=True, example=x, progress=False
    )
    assert any(neuron.signed for neuron in snn.neurons.values())
    with torch.no_grad():
        wanted = model(x)
        assert (snn(x, num_steps=8) - wanted).norm() < 0.2 * wanted.norm()
    result = ecl.verify(snn, model, batches(), num_steps=8, progress=False)  # it is prepared again
    assert len(result.layers) == len(snn.neurons)


@pytest.mark.parametrize(
    ("settings", "error_type", "text"),
    [
        ({"budget": "all"}, ConfigError, "budget must be one of fast, good, best; got 'all'"),
        ({"num_steps": 0}, ConfigError, "num_steps"),
        ({"negative_threshold": 0.5}, ConfigError, "negative_threshold must be <= 0"),
        ({"data": iter([torch.rand(2, 2, 8, 8)])}, DataError, "only once.*Give a DataLoader"),
        ({"data": []}, DataError, "empty"),
        ({"model": nn.Sequential(nn.Linear(2, 2))}, UnsupportedError, "has no ReLU"),
    ],
)
def test_refusals(settings: Any, error_type: type[Exception], text: str) -> None:
    given = {"model": relu_network(), "data": batches(), "num_steps": 2, **settings}
    with pytest.raises(error_type, match=text):
        ecl.convert_pretrained(given.pop("model"), given.pop("data"), progress=False, **given)


def test_a_warning_points_to_the_callers_line() -> None:
    """Where all activations are equal, calibration is exact, and no correction brings more."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2)).eval()
    nn.init.eye_(model[0].weight)
    with pytest.warns(UserWarning, match="returned as it was") as seen:
        ecl.convert_pretrained(model, [torch.ones(8, 2)], num_steps=4, progress=False)
    assert seen[0].filename == __file__
