"""A neuron's settings and its membrane, as snnTorch's users handle them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from snntorch_ecl import DualThreshold
from snntorch_ecl.errors import ConfigError, InputError, StateError
from tests.helpers.currents import hidden


@pytest.mark.parametrize("name", ["threshold", "graded_spikes_factor"])
@pytest.mark.parametrize("learn", [False, True])
def test_a_tensor_setting_is_copied(name: str, learn: bool) -> None:
    value = torch.tensor([1.0, 2.0])
    neuron = DualThreshold(**{name: value, f"learn_{name}": learn})
    value.fill_(9.0)
    assert getattr(neuron, name).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("name", ["threshold", "graded_spikes_factor"])
@pytest.mark.parametrize("value", [2, torch.tensor(2), torch.tensor([2, 2])])
def test_an_integer_setting_becomes_float(name: str, value: int | Tensor) -> None:
    neuron = DualThreshold(**{name: value})
    assert getattr(neuron, name).dtype == torch.float32
    neuron.half()
    assert getattr(neuron, name).dtype == torch.float16


@pytest.mark.parametrize("name", ["threshold", "graded_spikes_factor"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("make", [float, torch.tensor, lambda v: torch.tensor([1.0, v])])
def test_settings_must_be_positive_and_finite(name: str, make, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}.*{value:g}"):
        DualThreshold(**{name: make(value)})


def test_two_dimensional_thresholds_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"threshold.*\[2, 3\]"):
        DualThreshold(torch.ones(2, 3))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("negative_threshold", 0.5), ("negative_threshold", math.nan), ("initial_membrane", 1.5)],
)
def test_settings_out_of_range_are_named_at_construction(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{setting}.*{value}"):
        DualThreshold(**{setting: value})


def test_thresholds_must_match_the_channels() -> None:
    with pytest.raises(InputError, match=r"2 thresholds.*\[4, 3\]"):
        hidden(threshold=torch.ones(2))(torch.ones(4, 3))


@pytest.mark.parametrize(
    ("threshold", "shown"), [(1.5, "threshold=1.5"), (torch.tensor([0.5, 2.0]), "[0.5 … 2]")]
)
def test_printing_shows_the_settings(threshold: float | Tensor, shown: str) -> None:
    text = repr(DualThreshold(threshold, negative_threshold=-0.25, initial_membrane=0.75))
    assert shown in text
    assert "negative_threshold=-0.25" in text
    assert "initial_membrane=0.75" in text


def test_interleaved_sequences_keep_their_counts_when_detached() -> None:
    neuron = DualThreshold()
    _, first = neuron(torch.tensor([0.8]))
    neuron(torch.tensor([-3.0]), torch.zeros(1))
    spk, _ = neuron(torch.tensor([-0.8]), first.detach())
    assert spk.item() == -1


def test_a_copy_of_the_last_membrane_goes_on_with_its_count() -> None:
    for copied in (torch.clone, lambda mem: mem.double(), lambda mem: mem + 0):
        neuron = DualThreshold()
        _, mem = neuron(torch.tensor([0.8]))
        spk, _ = neuron(torch.tensor([-0.8], dtype=copied(mem).dtype), copied(mem))
        assert spk.item() == -1  # the spike is taken back: its count was not lost


@pytest.mark.parametrize(
    "foreign", [lambda mem: mem[:2], lambda mem: mem * 2, lambda mem: torch.full_like(mem, 0.1)]
)
def test_a_membrane_whose_count_nobody_knows_is_refused(foreign: Any) -> None:
    neuron = DualThreshold()
    _, mem = neuron(torch.full((4,), 0.8))
    with pytest.raises(StateError, match="net spike count is not known"):
        neuron(torch.full_like(foreign(mem), -0.8), foreign(mem))


@pytest.mark.parametrize("alias", [lambda mem: mem, torch.detach])
def test_a_membrane_zeroed_in_place_starts_again_without_its_count(alias: Any) -> None:
    neuron = DualThreshold()
    with torch.no_grad():
        _, mem = neuron(torch.tensor([0.8]))
        spk, _ = neuron(torch.tensor([-0.8]), alias(mem).zero_())
    assert spk.item() == 0  # no spike is left to take back


def test_a_membrane_changed_in_place_is_refused() -> None:
    neuron = DualThreshold()
    with torch.no_grad():
        _, mem = neuron(torch.tensor([0.8]))
        with pytest.raises(StateError, match="net spike count is not known"):
            neuron(torch.tensor([-0.8]), mem.mul_(2))


def test_a_transposed_membrane_is_refused() -> None:
    neuron = DualThreshold()
    _, mem = neuron(torch.tensor([[0.8, 0.1], [0.2, 0.3]]))
    with pytest.raises(StateError, match="net spike count is not known"):
        neuron(torch.zeros(2, 2), mem.t())


def test_a_membrane_of_ones_own_is_assigned() -> None:
    neuron = DualThreshold()
    neuron.mem = torch.tensor([0.4])
    spk, _ = neuron(torch.tensor([0.1]), neuron.mem)
    assert spk.item() == 1
