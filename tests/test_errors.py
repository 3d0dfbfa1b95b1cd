"""Every bad input is an EclError that says where, what was given, and what to do."""

from __future__ import annotations

import inspect
import pickle
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import DualThreshold, ThresholdClip, errors
from snntorch_ecl.errors import (
    ConfigError,
    EclError,
    InputError,
    NotPreparedError,
    RegistrationError,
    ThresholdUnsetError,
    TraceError,
    UnsupportedError,
)
from tests.helpers.nets import BY_NAME
from tests.helpers.parts import wired
from tests.helpers.refusals import INF, NAN, assert_refuses, small

# ------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("value", [0, -1.0, NAN, INF, -INF])
@pytest.mark.parametrize("make", [DualThreshold, lambda v: ThresholdClip(4, v)])
def test_thresholds_must_be_positive_and_finite(make: Any, value: float) -> None:
    assert_refuses(
        lambda: make(value),
        ConfigError,
        ValueError,
        "threshold must be finite and > 0",
        f"got {value:g}",
    )


def test_a_bad_threshold_among_many_is_pointed_at() -> None:
    assert_refuses(
        lambda: DualThreshold(torch.tensor([1.0, 0.0, -2.0])),
        ConfigError,
        ValueError,
        "got 0 at index [1]",
    )


@pytest.mark.parametrize("value", ["1", True, [1.0]])
def test_thresholds_must_be_numbers(value: object) -> None:
    assert_refuses(
        lambda: ThresholdClip(4, value),
        ConfigError,
        ValueError,
        f"must be a number or a tensor; got {value!r}",
    )


@pytest.mark.parametrize("levels", [0, -1, 2.0, True, "4"])
@pytest.mark.parametrize(
    "call", [lambda v: ThresholdClip(v), lambda v: ecl.prepare(nn.ReLU(), levels=v)]
)
def test_levels_must_be_a_positive_integer(call: Any, levels: object) -> None:
    assert_refuses(
        lambda: call(levels),
        ConfigError,
        ValueError,
        "levels must be an integer >= 1",
        f"got {levels!r}",
    )


@pytest.mark.parametrize(
    ("setting", "value", "remedy"),
    [
        ("negative_threshold", 0.1, "must be <= 0 (-inf: plain IF neuron)"),
        ("negative_threshold", NAN, "must be <= 0"),
        ("negative_threshold", "-1", "must be a number"),
        ("initial_membrane", -0.1, "in units of θ (of the smallest spike) and must lie in [0, 1]"),
        ("initial_membrane", 1.1, "in units of θ (of the smallest spike) and must lie in [0, 1]"),
        ("initial_membrane", True, "must be a number"),
        ("spike_grad", 3, "must be a function or None"),
    ],
)
def test_settings_of_a_conversion_are_checked_first(
    setting: str, value: object, remedy: str
) -> None:
    assert_refuses(
        lambda: ecl.convert(nn.ReLU(), **{setting: value}),
        ConfigError,
        ValueError,
        setting,
        remedy,
        f"got {value!r}",
    )


@pytest.mark.parametrize("verb", [ecl.prepare, ecl.convert])
def test_only_modules_convert(verb: Any) -> None:
    assert_refuses(
        lambda: verb(print),
        ConfigError,
        ValueError,
        "model must be an nn.Module",
        "builtin_function_or_method",
    )


# ------------------------------------------------------------------------------ unusable networks


@pytest.mark.parametrize("verb", [ecl.prepare, ecl.convert])
def test_unsupported_activations_are_all_in_one_message_with_the_line_to_write(verb: Any) -> None:
    model = nn.Sequential(
        nn.Linear(4, 4),
        nn.Hardshrink(),
        ThresholdClip(4, 1.0),
        nn.Sequential(nn.Softshrink(), nn.Tanhshrink()),
        nn.RReLU(),
        nn.Hardshrink(),
    )
    text = assert_refuses(
        lambda: verb(model),
        UnsupportedError,
        TypeError,
        "5 place(s)",
        "1 (Hardshrink)",
        "3.0 (Softshrink)",
        "3.1 (Tanhshrink)",
        "4 (RReLU)",
        "5 (Hardshrink)",
    )
    lines = re.findall(r"^ +(ecl\.register\(\w+\)\(handler\))$", text, flags=re.MULTILINE)
    kinds = ("Hardshrink", "RReLU", "Softshrink", "Tanhshrink")
    assert lines == [f"ecl.register({kind})(handler)" for kind in kinds]


def test_a_mixed_network_is_told_to_prepare_its_relus() -> None:
    model = nn.Sequential(ThresholdClip(4, 1.0), nn.ReLU())
    assert_refuses(
        lambda: ecl.convert(model),
        UnsupportedError,
        TypeError,
        "1 (ReLU)",
        "call ecl.prepare first",
    )


def branching(m: Any, x: Tensor) -> Tensor:
    return m.act(x) if x.mean() > 0 else x


def looping(m: Any, x: Tensor) -> Tensor:
    for _ in range(x.size(1)):
        x = m.act(x)
    return x


@pytest.mark.parametrize("forward", [branching, looping])
@pytest.mark.parametrize("verb", [ecl.prepare, ecl.convert])
def test_control_flow_on_data_is_a_trace_error(verb: Any, forward: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 4), wired(forward, act=ThresholdClip(4, 1.0)))
    assert_refuses(
        lambda: verb(model),
        TraceError,
        RuntimeError,
        "'1' (Wired)",
        "leaf_modules=",
        "ecl.register(Type)(handler)",
    )


def test_converting_before_preparing_names_the_step_left_out() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    assert_refuses(
        lambda: ecl.convert(model),
        NotPreparedError,
        RuntimeError,
        "Sequential",
        "ecl.prepare(model)",
        "ecl.convert(ann)",
    )


def test_unset_thresholds_are_all_named() -> None:
    ann = ecl.prepare(BY_NAME["residual"].model())
    ann.get_submodule("1").threshold = 1.0
    assert_refuses(
        lambda: ecl.convert(ann),
        ThresholdUnsetError,
        RuntimeError,
        "4 of 5",
        "2.relu, 2.relu_1, 3.relu, 3.relu_1",
        "clip.threshold",
    )


def test_reading_an_unset_threshold_names_the_layer() -> None:
    ann = ecl.prepare(nn.Sequential(nn.Sequential(nn.ReLU())))
    assert_refuses(
        lambda: ann.get_submodule("0.0").threshold,
        ThresholdUnsetError,
        RuntimeError,
        "0.0",
        "clip.threshold = 1.0",
    )


def test_a_network_without_activations_has_nothing_to_spike() -> None:
    assert_refuses(
        lambda: ecl.prepare(nn.Linear(4, 4)),
        UnsupportedError,
        TypeError,
        "Linear",
        "no ReLU",
        "Nothing in it would spike",
        "Use ReLU",
    )


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("name", ["0.weight", "2.bias"])
def test_broken_weights_are_named(name: str, value: float) -> None:
    model = small()
    model.get_parameter(name).data.view(-1)[1] = value
    assert_refuses(
        lambda: ecl.convert(model),
        InputError,
        ValueError,
        name,
        "NaN or infinity",
        "checkpoint from before",
    )


def test_broken_statistics_are_named() -> None:
    ann = BY_NAME["conv + bn"].prepared()
    ann.get_buffer("1.running_var")[0] = NAN
    assert_refuses(lambda: ecl.convert(ann), InputError, ValueError, "1.running_var")


# ---------------------------------------------------------------------------------- the classes

CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "EclError"]


def instance(kind: type[EclError]) -> EclError:
    return kind(["a (GELU)", "b (SiLU)"], "Remedy.") if kind is UnsupportedError else kind("text")


@pytest.mark.parametrize("kind", CLASSES)
def test_each_error_is_an_ecl_error_and_a_builtin_one(kind: type[EclError]) -> None:
    assert issubclass(kind, EclError)
    builtins = (ValueError, RuntimeError, TypeError, ImportError)
    assert sum(base in kind.__bases__ for base in builtins) == 1
    assert inspect.getdoc(kind)


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_pickle(kind: type[EclError]) -> None:
    error = instance(kind)
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is kind
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)


def test_every_error_class_is_listed() -> None:
    defined = [
        n for n, c in vars(errors).items() if inspect.isclass(c) and c.__module__ == errors.__name__
    ]
    assert sorted(defined) == sorted(errors.__all__)
    assert issubclass(RegistrationError, ValueError)
