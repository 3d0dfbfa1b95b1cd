"""Long runs in half precision: sums over time must not stop to grow."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import DualThreshold, SignedMaxPool, ThresholdClip

HALVES = [torch.float16, torch.bfloat16]
T = 1024


def network(**settings: Any) -> ecl.SpikingNetwork:
    torch.manual_seed(0)
    ann = nn.Sequential(
        nn.Conv2d(2, 4, 3), ThresholdClip(4, 0.7), nn.MaxPool2d(2), nn.Conv2d(4, 8, 2),
        ThresholdClip(4, 0.5), nn.Flatten(), nn.Linear(32, 5),
    )  # fmt: skip
    return ecl.convert(ann, **settings)


def distance(a: Tensor, b: Tensor) -> float:
    return float((a.float() - b.float()).norm() / b.float().norm())


@pytest.mark.parametrize(
    ("unit_spikes", "dtype"),
    [
        *((False, torch.bfloat16), (True, torch.float16)),
        pytest.param(False, torch.float16, marks=pytest.mark.slow),
        pytest.param(True, torch.bfloat16, marks=pytest.mark.slow),
    ],
)
def test_the_mean_of_a_long_run_is_within_the_types_rounding(
    dtype: torch.dtype, unit_spikes: bool
) -> None:
    half = network(unit_spikes=unit_spikes).to(dtype)
    single = copy.deepcopy(half).float()
    x = torch.randn(4, 2, 8, 8).to(dtype)
    with torch.no_grad():
        got, expected = half(x, num_steps=T), single(x.float(), num_steps=T)
        over_time = half.logits_over_time(x, num_steps=T)
        sequence = half.forward_steps(x.expand(T, *x.shape))
    assert got.dtype == over_time.dtype == dtype
    # Weights and currents are rounded once; three layers.
    limit = 3 * torch.finfo(dtype).eps
    assert distance(got, expected) < limit
    assert torch.equal(over_time[-1], got)
    assert distance(sequence, expected) < limit


def test_under_autocast_as_well() -> None:
    snn, x = network(), torch.randn(4, 2, 8, 8)
    with torch.no_grad():
        expected = snn(x, num_steps=T)
        with torch.autocast("cpu", torch.bfloat16):
            got = snn(x, num_steps=T)
    assert got.dtype == torch.bfloat16
    assert distance(got, expected) < 3 * torch.finfo(torch.bfloat16).eps


def test_a_membrane_takes_up_currents_that_its_type_would_lose() -> None:
    """0.25 + 0.0008 is 0.25 in bfloat16; 1250 steps of 0.0008 are one spike."""
    neuron = DualThreshold(1.0, init_hidden=True)
    current = torch.tensor([8e-4]).bfloat16()
    steps = round(1.6 / float(current))
    with torch.no_grad():
        spikes = neuron(current.expand(steps, 1).flatten(), num_steps=steps)
    assert float(spikes.float().sum()) == 2  # floor(1.6 + 1/2)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_pools_sums_are_those_of_its_inputs(dtype: torch.dtype) -> None:
    """With whole numbers single precision is exact; bfloat16 counts to 256, float16 to 2048."""
    count = 4096
    pool = SignedMaxPool(nn.MaxPool1d(2))
    pooled = pool(torch.ones(count, 1, 2, dtype=dtype), num_steps=count)
    assert pooled.dtype == dtype
    assert float(pooled.float().sum()) == count


def test_evaluations_of_layers_add_up_in_single_precision() -> None:
    torch.manual_seed(0)
    half = nn.Sequential(nn.Linear(4, 6), ThresholdClip(4, 1.0), nn.Linear(6, 2)).bfloat16()
    x, labels = torch.rand(8, 4).bfloat16(), torch.zeros(8, dtype=torch.int64)
    errors = []
    for ann, images in ((half, x), (copy.deepcopy(half).float(), x.float())):
        result = ecl.evaluate(
            ecl.convert(ann), [(images, labels)], num_steps=T, ann=ann, progress=False
        )
        errors.append(result.layers[0].error)
    assert errors[0] == pytest.approx(errors[1], abs=2e-4)


def test_early_exit_adds_up_in_single_precision() -> None:
    snn = network().bfloat16()
    snn.net.get_submodule("6").bias.data.add_(1.3)  # sums beyond 256
    x = torch.randn(4, 2, 8, 8).bfloat16()
    with torch.no_grad():
        found = snn.predict(x, max_steps=400, confidence=1.0)
        expected = snn.float()(x.float(), num_steps=400).softmax(1).max(1)
    assert torch.equal(found.classes, expected.indices)
    assert found.confidence.tolist() == pytest.approx(expected.values.tolist(), abs=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_types_stay_as_they_are(dtype: torch.dtype) -> None:
    snn, x = network().to(dtype), torch.randn(4, 2, 8, 8, dtype=dtype)
    assert snn(x, num_steps=3).dtype == dtype
    assert {neuron.mem.dtype for neuron in snn.neurons.values()} == {dtype}
