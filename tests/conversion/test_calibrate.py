"""Thresholds from data: against the activations themselves, and what is refused."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError, DataError, InputError, NotPreparedError

METHODS = ("mse", "percentile", "max")


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ).eval()


def images(count: int = 60) -> Tensor:
    return torch.randn(count, 2, 8, 8, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def activations(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    first = model[0](x).relu()  # type: ignore[index]
    return {"1": first, "3": model[2](first).relu()}  # type: ignore[index]


def thresholds(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: module.threshold.detach()
        for name, module in model.named_modules()
        if isinstance(module, ecl.ThresholdClip)
    }


def calibrated(model: nn.Module | None = None, data: Any = None, **options: Any) -> nn.Module:
    prepared = {name: options.pop(name) for name in ("levels", "per_channel") if name in options}
    ann = ecl.prepare(model or network(), **prepared)
    data = images().split(20) if data is None else data
    return ecl.calibrate(ann, data, progress=False, **options)


@pytest.mark.parametrize("per_channel", [False, True])
def test_max_is_the_largest_activation(per_channel: bool) -> None:
    found = thresholds(calibrated(method="max", per_channel=per_channel))
    for name, values in activations(network(), images()).items():
        expected = values.amax((0, 2, 3)) if per_channel else values.max()
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("percentile", [50.0, 99.0, 100.0])
def test_percentile_is_the_quantile_of_the_positive_activations(percentile: float) -> None:
    found = thresholds(calibrated(method="percentile", percentile=percentile))
    for name, values in activations(network(), images()).items():
        expected = torch.quantile(values[values > 0], percentile / 100, interpolation="higher")
        assert found[name].item() == pytest.approx(expected.item(), rel=0.015)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("levels", [2, 4, 16])
def test_mse_is_closer_to_the_activations_than_the_others(per_channel: bool, levels: int) -> None:
    errors = {}
    for method in METHODS:
        found = thresholds(calibrated(method=method, levels=levels, per_channel=per_channel))
        errors[method] = [
            float((values - ecl.functional.threshold_clip(
                values, found[name].view(-1, *[1, 1] * found[name].ndim), levels)).square().sum())
            for name, values in activations(network(), images()).items()
        ]  # fmt: skip
    for best, *others in zip(*(errors[method] for method in METHODS), strict=True):
        assert best <= min(others)


def test_mse_reckons_with_the_steps_that_are_asked_for() -> None:
    by_steps = thresholds(calibrated(levels=4, num_steps=16))
    by_levels = thresholds(calibrated(levels=16))
    assert by_steps == by_levels
    assert by_steps != thresholds(calibrated(levels=4))
    assert thresholds(calibrated(levels=None, num_steps=16)) == by_levels


@pytest.mark.parametrize("method", METHODS)
def test_neither_order_nor_size_of_batches_matters(method: Any) -> None:
    whole = thresholds(calibrated(data=[images()], method=method))
    parts = list(images().split(7))
    for data in (parts, parts[::-1]):
        for name, value in thresholds(calibrated(data=data, method=method)).items():
            torch.testing.assert_close(value, whole[name], rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x,
        lambda x: (x, torch.zeros(len(x))),
        lambda x: [x],
        lambda x: {"pixels": x, "label": 3},
    ],
    ids=["tensor", "tuple", "list", "dict"],
)
def test_batches_of_any_form(form: Callable[[Tensor], Any]) -> None:
    data = (form(batch) for batch in images().split(20))
    assert thresholds(calibrated(data=data, key="pixels")) == thresholds(calibrated())


def test_the_model_stays_as_it_was() -> None:
    ann = ecl.prepare(network()).train()
    before = copy.deepcopy(ann.state_dict())
    result = ecl.calibrate(ann, [images()], progress=False)
    for name, value in ann.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)
    assert ann.training
    assert result.training
    assert not ann.get_submodule("1").is_set
    assert not any(m._forward_hooks for m in result.modules())


def test_thresholds_that_were_set_are_chosen_anew() -> None:
    first = calibrated(method="max")
    for clip in first.modules():
        if isinstance(clip, ecl.ThresholdClip):
            clip.threshold = 0.01
    again = ecl.calibrate(first, images().split(20), method="max", progress=False)
    assert thresholds(again) == thresholds(calibrated(method="max"))


def test_relu6_is_never_given_more_than_six() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, 5), nn.ReLU6(), nn.Linear(5, 2))
    for method in METHODS:
        found = thresholds(calibrated(model, data=[100 * images()], method=method))
        assert found["2"].item() <= 6.0 + 1e-5


def test_it_converts_and_agrees_at_many_steps() -> None:
    model = network()
    snn = ecl.convert(calibrated(model, method="max"))
    with torch.no_grad():
        expected, found = model(images(20)), snn(images(20), num_steps=256)
    assert (found - expected).norm() < 0.02 * expected.norm()


def test_a_channel_that_is_silent_hardly_fires() -> None:
    model = network()
    model[0].weight.data[1] = 0  # type: ignore[index]
    model[0].bias.data[1] = -1  # type: ignore[index]
    found = thresholds(calibrated(model, per_channel=True))["1"]
    assert found[1] == found.max()


# ----------------------------------------------------------------------------------- refused


def test_a_dead_layer_is_named() -> None:
    model = network()
    model[2].bias.data.fill_(-1000.0)  # type: ignore[index]
    with pytest.raises(InputError, match=r"^3: no activation above .*the layer is dead"):
        calibrated(model)


def test_activations_that_are_not_finite_are_named() -> None:
    data = images()
    data[3, 0, 0, 0] = torch.inf
    with pytest.raises(InputError, match=r"^1: activations .* hold NaN or infinity"):
        calibrated(data=[data])


def test_no_data_is_an_error() -> None:
    with pytest.raises(DataError, match="the data is empty"):
        calibrated(data=[])


def test_a_network_without_clips_is_an_error() -> None:
    with pytest.raises(NotPreparedError, match=r"call prepare\(model\) first"):
        ecl.calibrate(network(), [images()])


@pytest.mark.parametrize(
    ("batch", "key", "message"),
    [
        (3, None, "batch 0 must be a tensor, .*got a int"),
        ((), None, "batch 0 must be a tensor, .*got a tuple"),
        ({"x": 1}, None, r"batch 0 is a dict with 'x'; name the input with key="),
        ({"x": 1}, "y", r"batch 0 is a dict with 'x'; name the input with key="),
        ({"x": 1}, "x", "batch 0 must be a tensor, .*got a int"),
    ],
)
def test_batches_of_another_form_are_refused(batch: Any, key: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        calibrated(data=[batch], key=key)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "median"}, "method must be one of mse, percentile, max; got 'median'"),
        ({"percentile": 0}, r"percentile must lie in \(0, 100\]; got 0"),
        ({"percentile": float("nan")}, "percentile must lie in"),
        ({"num_steps": 0}, "must be an integer >= 1"),
        ({"levels": None}, "method 'mse' needs a number of levels, and 1, 3 has none"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        calibrated(**options)


def test_an_empty_batch_is_named() -> None:
    with pytest.raises(DataError, match=r"batch 1 is empty: its input has shape \[0, 2, 8, 8\]"):
        ecl.calibrate(ecl.prepare(network()), [images(), images()[:0]], progress=False)
