"""Bad input of a run is an EclError that says where, what was given, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import snntorch_ecl as ecl
from snntorch_ecl.errors import (
    ConfigError,
    InputError,
    StateError,
)
from tests.helpers.nets import BY_NAME
from tests.helpers.refusals import INF, NAN, assert_refuses, network, small

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
