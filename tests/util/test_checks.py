"""Checks of settings: what passes, and what is refused in which words."""

import math
from typing import Any

import pytest
import torch

from snntorch_ecl._util.checks import (
    at,
    check_levels,
    check_neuron,
    check_num_steps,
    check_threshold,
)
from snntorch_ecl.errors import ConfigError, InputError

LIKE = torch.empty(2, 3)


def test_an_error_begins_with_the_layers_name_if_it_has_one() -> None:
    assert (at("stage1.2"), at("")) == ("stage1.2: ", "")


@pytest.mark.parametrize("levels", [None, 1, 64])
def test_levels_that_pass(levels: int | None) -> None:
    check_levels(levels)


@pytest.mark.parametrize("levels", [0, -1, True, 4.0, "4", math.nan])
def test_levels_that_are_refused(levels: Any) -> None:
    with pytest.raises(ConfigError, match="levels must be an integer >= 1, or None") as caught:
        check_levels(levels)
    assert repr(levels) in str(caught.value)


@pytest.mark.parametrize("steps", [1, 16])
def test_steps_that_pass(steps: int) -> None:
    check_num_steps(steps)


@pytest.mark.parametrize("steps", [0, -3, True, 2.0, "2", None])
def test_steps_that_are_refused(steps: Any) -> None:
    with pytest.raises(ConfigError, match=r"num_steps must be (an integer )?>= 1") as caught:
        check_num_steps(steps)
    assert repr(steps) in str(caught.value)


@pytest.mark.parametrize(("negative", "initial"), [(0, 0), (-1e-3, 0.5), (-math.inf, 1), (-2, 1.0)])
def test_neurons_that_pass(negative: float, initial: float) -> None:
    check_neuron(negative, initial)


@pytest.mark.parametrize(
    ("negative", "initial", "message"),
    [
        (1e-9, 0.5, "negative_threshold must be <= 0 .*; got 1e-09"),
        (math.nan, 0.5, "negative_threshold must be <= 0 .*; got nan"),
        ("-1", 0.5, "negative_threshold must be a number; got '-1'"),
        (False, 0.5, "negative_threshold must be a number; got False"),
        (-1, -0.1, r"initial_membrane .* must lie in \[0, 1\]; got -0.1"),
        (-1, 1.5, r"initial_membrane .* must lie in \[0, 1\]; got 1.5"),
        (-1, math.nan, r"initial_membrane .* must lie in \[0, 1\]; got nan"),
        (-1, None, "initial_membrane must be a number; got None"),
        (-1, True, "initial_membrane must be a number; got True"),
    ],
)
def test_neurons_that_are_refused(negative: Any, initial: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_neuron(negative, initial)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [2, 0.5, torch.tensor(0.5), torch.tensor([1, 2, 3])])
def test_a_threshold_takes_the_inputs_dtype_and_keeps_its_value(
    value: Any, dtype: torch.dtype
) -> None:
    checked = check_threshold(value, like=LIKE.to(dtype))
    assert checked.dtype == dtype
    assert checked.tolist() == (value.tolist() if isinstance(value, torch.Tensor) else value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "θ must be finite and > 0 in torch.float32; got 0$"),
        (-1.5, "got -1.5$"),
        (math.nan, "got nan$"),
        (math.inf, "got inf$"),
        (1e-50, "in torch.float32; got 1e-50$"),
        (1e40, r"in torch.float32; got 1e\+40$"),
        (torch.tensor([1.0, -2.0, 3.0]), r"got -2 at index \[1\]$"),
        ("1", "θ must be a number or a tensor; got '1'"),
        (True, "θ must be a number or a tensor; got True"),
        (None, "θ must be a number or a tensor; got None"),
    ],
)
def test_thresholds_that_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_threshold(value, like=LIKE, name="θ")


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (1, 3), (2, 3)])
def test_shapes_that_broadcast_pass(shape: tuple[int, ...]) -> None:
    assert check_threshold(torch.ones(shape), like=LIKE).shape == shape


@pytest.mark.parametrize("shape", [(2,), (3, 1), (1, 2, 3)])
def test_shapes_that_do_not_broadcast_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"threshold of shape .* does not broadcast to \[2, 3\]"):
        check_threshold(torch.ones(shape), like=LIKE)


def test_the_shape_is_free_where_that_is_asked_for() -> None:
    assert check_threshold(torch.ones(5), like=LIKE, shape=False).shape == (5,)


def test_integer_input_is_refused() -> None:
    with pytest.raises(InputError, match=r"needs floating-point input; got torch\.int64"):
        check_threshold(1.0, like=torch.zeros(2, dtype=torch.int64))
