"""Every bad input is an EclError that says where, what was given, and what to do."""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Callable
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
    StateError,
    ThresholdUnsetError,
    TraceError,
    UnsupportedError,
)
from tests.helpers.nets import BY_NAME
from tests.helpers.parts import wired
from tests.helpers.refusals import INF, NAN, assert_refuses, network, small

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
        ("initial_membrane", -0.1, "in units of θ and must lie in [0, 1]"),
        ("initial_membrane", 1.1, "in units of θ and must lie in [0, 1]"),
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


RUNS: dict[str, Callable[[ecl.SpikingNetwork, Any], Any]] = {
    "forward": lambda snn, t: snn(torch.rand(2, 4), num_steps=t),
    "logits_over_time": lambda snn, t: snn.logits_over_time(torch.rand(2, 4), num_steps=t),
    "evaluate": lambda snn, t: ecl.evaluate(
        snn, [(torch.rand(2, 4), torch.tensor([0, 1]))], num_steps=t, progress=False
    ),
}


@pytest.mark.parametrize("num_steps", [0, -1, True, 2.5, "4", None])
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_num_steps_must_be_a_positive_integer(run: Any, num_steps: object) -> None:
    assert_refuses(
        lambda: run(network(), num_steps),
        ConfigError,
        ValueError,
        "num_steps must be",
        ">= 1",
        f"got {num_steps!r}",
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
        nn.GELU(),
        ThresholdClip(4, 1.0),
        nn.Sequential(nn.SiLU(), nn.Sigmoid()),
        nn.LayerNorm(4),
        nn.GELU(),
    )
    text = assert_refuses(
        lambda: verb(model),
        UnsupportedError,
        TypeError,
        "5 place(s)",
        "1 (GELU)",
        "3.0 (SiLU)",
        "3.1 (Sigmoid)",
        "4 (LayerNorm)",
        "5 (GELU)",
    )
    lines = re.findall(r"^ +(ecl\.register\(\w+\)\(handler\))$", text, flags=re.MULTILINE)
    kinds = ("GELU", "LayerNorm", "SiLU", "Sigmoid")
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


# ----------------------------------------------------------------------------------------- inputs

CALLS: dict[str, Callable[..., Any]] = {
    "forward": lambda snn, *xs: snn(*xs, num_steps=2),
    "step": lambda snn, *xs: snn.step(*xs),
    "logits_over_time": lambda snn, *xs: snn.logits_over_time(*xs, num_steps=2),
    "forward_steps": lambda snn, *xs: snn.forward_steps(*(x.unsqueeze(1) for x in xs)),
}
calls = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@calls
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_inputs_must_be_finite(call: Any, value: float) -> None:
    x = torch.rand(3, 4)
    x[1, 2] = value
    assert_refuses(
        lambda: call(network(), x), InputError, ValueError, "input 0", "NaN or infinity", "[3"
    )


@calls
@pytest.mark.parametrize("count", [0, 2])
def test_the_number_of_inputs_must_match(call: Any, count: int) -> None:
    xs = [torch.rand(3, 4)] * count
    assert_refuses(
        lambda: call(network(), *xs), InputError, ValueError, "takes 1 input(s)", f"got {count}"
    )


@pytest.mark.parametrize(
    ("bad", "what"),
    [([1.0], "list"), (3.0, "float"), (torch.rand(0, 4), "[0, 4]"), (torch.tensor(1.0), "[]")],
)
def test_inputs_must_be_tensors_with_a_batch(bad: Any, what: str) -> None:
    assert_refuses(
        lambda: network()(bad, num_steps=2),
        InputError,
        ValueError,
        "input 0",
        "[B, ...]",
        f"got {what}",
    )


@pytest.mark.parametrize("shape", [(3,), (3, 0, 4)])
def test_sequences_need_time_and_batch(shape: tuple[int, ...]) -> None:
    assert_refuses(
        lambda: network().forward_steps(torch.rand(shape)),
        InputError,
        ValueError,
        "[T, B >= 1, ...]",
        str(list(shape)),
    )


def test_inputs_must_agree_in_batch() -> None:
    snn = ecl.convert(BY_NAME["two inputs"].prepared())
    assert_refuses(
        lambda: snn(torch.rand(3, 4), torch.rand(2, 5), num_steps=2),
        InputError,
        ValueError,
        "inputs 0 and 1",
        "3 and 2",
    )


@pytest.mark.parametrize("shapes", [((3, 2, 4), (3, 1, 5)), ((1, 3, 4), (1, 1, 5))])
def test_sequences_must_agree_in_batch(shapes: tuple[tuple[int, ...], ...]) -> None:
    snn = ecl.convert(BY_NAME["two inputs"].prepared())
    assert_refuses(
        lambda: snn.forward_steps(*map(torch.rand, shapes)),
        InputError,
        ValueError,
        "inputs 0 and 1",
    )


@pytest.mark.parametrize("name", ["sequential", "max-pool", "starts with a neuron"])
def test_another_batch_in_the_middle_of_a_sequence_names_layer_and_remedy(name: str) -> None:
    net = BY_NAME[name]
    snn = ecl.convert(net.prepared())
    snn.step(*net.inputs(3))
    layer = snn.layers[0].name
    assert_refuses(
        lambda: snn.step(*net.inputs(2)),
        StateError,
        RuntimeError,
        f"{layer}: ",
        "from [3,",
        "to [2,",
        "snntorch_ecl.reset(net)",
    )
    snn.reset()
    snn.step(*net.inputs(2))


def test_an_overflowing_membrane_names_the_layer() -> None:
    model = small()
    model[0].weight.data.fill_(3e38)
    assert_refuses(
        lambda: ecl.convert(model)(torch.full((1, 4), 1e3), num_steps=2),
        StateError,
        RuntimeError,
        "membrane of 1",
        "float32",
    )


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
