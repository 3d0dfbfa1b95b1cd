"""Corrections are kept only where they help on images that were held out."""

import json
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from tests.helpers.residual import METHODS, STEPS, images, relu_network


def network(seed: int, width: int) -> nn.Module:
    torch.manual_seed(seed)
    layers = (nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(width, 3)).eval()


def error(snn: nn.Module, ann: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        wanted = ann(x)
        return float((snn(x, num_steps=2) - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [2, 7, 40])
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
)
@pytest.mark.filterwarnings("ignore:compensate")
def test_on_the_images_held_out_it_is_never_worse(method: Any, count: int, seed: int) -> None:
    """Also where the layers have many more weights than there are images."""
    ann, x = network(seed, 50), torch.randn(count, 6)
    snn = ecl.convert(ecl.calibrate(ecl.prepare(ann), [x], num_steps=2, progress=False))
    batches = x.split(3)  # which images are held out does not depend on the batches
    better = ecl.compensate(snn, ann, batches, num_steps=2, method=method, progress=False)
    held_out = x[1::4]
    before, after = error(snn, ann, held_out), error(better, ann, held_out)
    record = better.compensation
    assert after <= before
    assert record.before == pytest.approx(before, rel=1e-4)
    assert record.after == pytest.approx(after, rel=1e-4) or not record.kept
    assert (record.fitted, record.held_out) == (count - len(held_out), len(held_out))
    assert record.kept == (record.after < record.before)
    for layer in record.layers:
        assert layer.after <= layer.before
        assert (layer.kept > 0) == (layer.after < layer.before)


def test_what_does_not_help_is_said_and_changes_nothing() -> None:
    """One clip with T = L is exact already."""
    torch.manual_seed(0)
    ann = nn.Sequential(nn.Linear(4, 8), ecl.ThresholdClip(4, 1.0), nn.Linear(8, 3)).eval()
    snn, x = ecl.convert(ann), torch.randn(20, 4)
    with pytest.warns(
        UserWarning, match=r"no closer .* 5 images held out .* returned as it was"
    ) as seen:
        same = ecl.compensate(snn, ann, [x], num_steps=4, method="biases", progress=False)
    assert seen[0].filename == __file__
    assert not same.compensation.kept
    assert snn.compensation is None
    for name, value in snn.state_dict().items():
        assert torch.equal(same.state_dict()[name], value), name


def test_one_image_is_too_few() -> None:
    ann = network(0, 4)
    snn = ecl.convert(ecl.calibrate(ecl.prepare(ann), [torch.randn(20, 6)], progress=False))
    with pytest.raises(ecl.errors.DataError, match="at least 2 images"):
        ecl.compensate(snn, ann, [torch.randn(1, 6)], num_steps=2, progress=False)


@pytest.mark.parametrize("method", METHODS)
def test_the_record_can_be_read(method: Any) -> None:
    model = relu_network()
    ann = ecl.prepare(model)
    ann = ecl.calibrate(ann, [images()], method="percentile", percentile=60, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        better = ecl.compensate(
            ecl.convert(ann), model, [images()], num_steps=STEPS, method=method, progress=False
        )
    record = better.compensation
    assert [layer.name for layer in record.layers] == ["relu", "relu1", "relu2", "output"]
    assert json.loads(json.dumps(record.to_dict()))["method"] == method
    text = str(record)
    assert "60 images" in text
    assert "20 images held out" in text
    assert all(layer.name in text for layer in record.layers)
    assert record.plot().axes[0].get_xlabel()


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        (lambda x: (100 * x).to(torch.uint8), "give floating-point numbers"),
        (lambda x: x[0], r"no batch dimension: give x.unsqueeze\(0\)"),
    ],
)
@pytest.mark.parametrize("method", ["weights", "distill"])
def test_images_of_another_kind_are_named(wrong: Any, remedy: str, method: Any) -> None:
    model = relu_network()
    ann = ecl.calibrate(ecl.prepare(model), [images()], progress=False)
    with pytest.raises(ecl.errors.InputError, match=remedy):
        ecl.compensate(
            ecl.convert(ann), model, [wrong(images())],
            num_steps=STEPS, method=method, progress=False,
        )  # fmt: skip
