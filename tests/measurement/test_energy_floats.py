"""Floating-point operations of layers that are not affine, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from tests.helpers.parts import wired

STEPS, IMAGES = 3, 5


def cost(forward: Any, x: Tensor, **parts: nn.Module) -> ecl.Energy:
    torch.manual_seed(0)
    model = wired(forward, clip=ecl.ThresholdClip(4, 1.0), **parts).eval()
    return ecl.energy(ecl.convert(model), [x], num_steps=STEPS, progress=False)


def floats(energy: ecl.Energy, name: str) -> tuple[float, float]:
    [layer] = [layer for layer in energy.layers if layer.name == name]
    return layer.floats, layer.ann_floats


def test_an_activation_is_counted_at_every_step_with_the_sums_around_it() -> None:
    x = torch.rand(IMAGES, 6)
    energy = cost(lambda m, x: m.fc(m.act(m.clip(x))), x, act=nn.SiLU(), fc=nn.Linear(6, 2))
    # Five for each of 6 values; each is added to a sum, divided, multiplied, and subtracted.
    assert floats(energy, "act") == (STEPS * 6 * (5 + 4), 6 * 5)
    assert energy.total("floats") == STEPS * 6 * 9
    macs = energy.total("macs")
    assert energy.float_share == pytest.approx(162 / (162 + macs + energy.total("acs")))
    assert f"{100 * energy.float_share:.1f} % of all" in str(energy)
    joules = energy.joules(energy.layers[1])
    assert joules == pytest.approx(162 * 3.7e-12)
    assert energy.not_counted == ()


@pytest.mark.parametrize(
    ("call", "name", "expected"),
    [
        # Two streams of 4 × 6 are read, 4 × 4 values returned, each from 6 products and sums.
        # Half a spike more in places: these are no spikes.
        (lambda y: (y + y.roll(1, 2)) @ y.transpose(1, 2), "matmul", (2 * 6 * 16, 2 * 48 + 2 * 16)),
        (lambda y: y * y[:, :, :1].sigmoid(), "mul", (24, 2 * (24 + 4) + 2 * 24)),
        (lambda y: y.softmax(-1), "softmax", (5 * 24, 4 * 24)),
        (lambda y: nn.functional.scaled_dot_product_attention(y, y, y),
         "scaled_dot_product_attention", (2 * 16 * 6 + 5 * 16 + 2 * 4 * 24, 4 * 24)),
    ],
)  # fmt: skip
def test_functions_are_counted_too(call: Any, name: str, expected: tuple[int, int]) -> None:
    once, around = expected
    energy = cost(lambda m, x: call(m.clip(x)), torch.rand(IMAGES, 4, 6))
    assert floats(energy, name) == (STEPS * (once + around), pytest.approx(once))


def test_a_product_of_spikes_adds_rows_and_columns() -> None:
    """Of 2 × 3 and 3 × 2 values: each spike of either adds 2 values."""
    x = torch.zeros(2, 2, 3)
    x[0, 0, 0] = x[0, 0, 2] = x[1, 0, 2] = 1.0  # at θ: a spike at every step
    energy = cost(lambda m, x: m.clip(x) @ m.clip(x).transpose(1, 2), x)
    [found] = [layer for layer in energy.layers if "matmul" in layer.name]
    # The first image has 2 spikes in each operand, the second 1.
    assert found.acs == STEPS * (2 * 2 * 2 + 2 * 2 * 1) / 2
    assert (found.floats, found.ann_floats, found.ann_macs) == (STEPS * 2 * 4, 0, 4 * 3)


def test_without_such_layers_nothing_is_said() -> None:
    energy = cost(lambda m, x: m.fc(m.clip(x)), torch.rand(IMAGES, 6), fc=nn.Linear(6, 2))
    assert energy.float_share == 0
    assert "floating-point" not in str(energy)
