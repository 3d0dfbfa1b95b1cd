"""What the equations refuse to compute."""

from __future__ import annotations

import math

import pytest
import torch

from snntorch_ecl import functional as F
from snntorch_ecl.errors import ConfigError, InputError, StateError

# ---------------------------------------------------------------------------------- errors


ONE = torch.ones(2)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("make", [float, torch.tensor], ids=["number", "tensor"])
@pytest.mark.parametrize(
    "call",
    [
        lambda theta: F.threshold_clip(ONE, theta),
        lambda theta: F.dual_threshold_step(ONE, F.fresh_state(ONE), theta),
        lambda theta: F.scan(ONE.unsqueeze(0), theta),
    ],
    ids=["threshold_clip", "dual_threshold_step", "scan"],
)
def test_threshold_must_be_positive_and_finite(call, make, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"threshold must be finite and > 0.*{value:g}"):
        call(make(value))


def test_a_bad_threshold_among_many_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"-3.*\[1\]"):
        F.threshold_clip(ONE, torch.tensor([1.0, -3.0]))


@pytest.mark.parametrize("value", [True, "1", None])
def test_threshold_must_be_a_number(value: object) -> None:
    with pytest.raises(ConfigError, match=f"threshold.*{value!r}"):
        F.threshold_clip(ONE, value)


@pytest.mark.parametrize("levels", [0, -3, True, 2.0, "4"])
def test_levels_must_be_a_positive_integer(levels: object) -> None:
    with pytest.raises(ConfigError, match=f"levels.*{levels!r}"):
        F.threshold_clip(ONE, 1.0, levels)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("negative_threshold", 0.5),
        ("negative_threshold", math.nan),
        ("negative_threshold", math.inf),
        ("negative_threshold", False),
        ("initial_membrane", -0.25),
        ("initial_membrane", 1.5),
        ("initial_membrane", math.nan),
        ("initial_membrane", True),
    ],
)
def test_neuron_settings_out_of_range_are_named(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{setting}.*{value}"):
        F.dual_threshold_step(ONE, F.fresh_state(ONE), 1.0, **{setting: value})
    with pytest.raises(ConfigError, match=f"{setting}.*{value}"):
        F.scan(ONE.unsqueeze(0), 1.0, **{setting: value})


@pytest.mark.parametrize("part", ["mem", "spike_count"])
def test_state_of_another_shape_is_refused(part: str) -> None:
    state = F.fresh_state(ONE)._replace(**{part: getattr(F.fresh_state(torch.ones(3)), part)})
    with pytest.raises(StateError, match=r"\[3\].*\[2\]"):
        F.dual_threshold_step(ONE, state, 1.0)
    with pytest.raises(StateError, match=r"\[3\].*\[2\]"):
        F.scan(ONE.unsqueeze(0), 1.0, state)


@pytest.mark.parametrize("shape", [(0, 3), ()])
def test_scan_needs_at_least_one_step(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=rf"T.*{list(shape)}".replace("[", r"\[")):
        F.scan(torch.zeros(shape), 1.0)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_integer_input_is_refused_rather_than_rounding_the_threshold(dtype: torch.dtype) -> None:
    x = torch.ones(3, 2, dtype=dtype)
    with pytest.raises(InputError, match=f"floating-point.*{dtype}"):
        F.threshold_clip(x, 2.5)
    with pytest.raises(InputError, match="floating-point"):
        F.scan(x, 2.5)


def test_a_threshold_larger_than_the_current_is_refused_rather_than_broadcast_up() -> None:
    with pytest.raises(InputError, match=r"\[3\] does not broadcast to \[1\]"):
        F.scan(torch.ones(4, 2, 1)[0], torch.ones(3))


def test_a_threshold_that_vanishes_in_half_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"torch\.float16; got 1e-08"):
        F.threshold_clip(torch.ones(2, dtype=torch.float16), 1e-8)


def test_an_infinite_input_gives_a_finite_gradient_of_the_threshold() -> None:
    threshold = torch.tensor(1.0, requires_grad=True)
    F.threshold_clip(torch.tensor([0.3, -torch.inf, torch.inf]), threshold, 4).sum().backward()
    assert threshold.grad is not None
    assert threshold.grad.item() == pytest.approx(0.25 - 0.3 + 0 + 1)
