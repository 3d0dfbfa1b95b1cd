"""Graded spikes: equal to the quantised ANN in one step; and plain neurons, calibrated."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._pytree import tree_leaves

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError, UnsupportedError
from snntorch_ecl.hardware._graded import GradedNeuron, graded
from snntorch_ecl.hardware._plain import plain

from ..helpers.nets import BY_NAME, SMALL, Net, over_kinds_of
from ..helpers.parts import recorded
from .test_settle import activations, dyadic

L = 4
ONE_INPUT = [net for net in SMALL if net.name != "two inputs"]


@over_kinds_of(ONE_INPUT)
def test_one_step_is_the_quantised_ann_in_all_layers(net: Net) -> None:
    ann, snn = dyadic(net, L)
    x = net.inputs()[0].mul(16).round() / 16
    chip = graded(snn)
    expected, values = activations(ann, x)
    found, spikes = recorded(chip, lambda: chip(x, num_steps=1))
    for name in chip.neurons:
        assert torch.equal(spikes[f"net.{name}"], values[name]), name
    for a, b in zip(tree_leaves(expected), tree_leaves(found), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["residual", "max-pool", "concat"])
def test_unit_spikes_are_whole_numbers_and_the_file_brings_them_back(
    name: str, tmp_path: Path
) -> None:
    net = BY_NAME[name]
    ann, _ = dyadic(net, L)
    x = net.inputs()[0].mul(16).round() / 16
    chip = graded(ecl.convert(ann, unit_spikes=True))
    out, spikes = recorded(chip, lambda: chip(x, num_steps=1))
    levels = torch.cat([spikes[f"net.{n}"].flatten() for n in chip.neurons]).unique().tolist()
    assert set(levels) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    assert len(levels) > 2
    torch.testing.assert_close(out, ann(x))
    loaded = ecl.load(chip.save(tmp_path / "chip.safetensors"), net.prepared(L))
    assert torch.equal(loaded(x, num_steps=2), chip(x, num_steps=2))


def oracle(currents: list[float], theta: Fraction, levels: int) -> list[int]:
    unit, v, n, spikes = theta / levels, theta / levels / 2, 0, []
    for current in currents:
        v += Fraction(current)
        s = min(max(math.floor(v / unit), -min(n, levels)), levels)
        v, n = v - unit * s, n + s
        spikes.append(s)
    return spikes


@given(st.lists(st.integers(-40, 40).map(lambda k: k / 16), min_size=1, max_size=8),
       st.sampled_from([1, 2, 4, 8]), st.booleans())  # fmt: skip
@settings(max_examples=40, deadline=None, derandomize=True, database=None,
          phases=[Phase.generate])  # fmt: skip
def test_spikes_are_those_of_exact_arithmetic(
    currents: list[float], levels: int, steps: bool
) -> None:
    neuron = GradedNeuron(0.5, levels=levels, graded_spikes_factor=float(levels))
    current = torch.tensor(currents)
    if steps:
        found = [neuron(step.view(1)).item() for step in current]
    else:
        found = neuron(current, num_steps=len(currents)).tolist()
    assert found == oracle(currents, Fraction(1, 2), levels)


def test_one_level_is_the_neuron_of_the_paper() -> None:
    torch.manual_seed(0)
    current = torch.randn(20, 50).mul(16).round() / 16
    one = GradedNeuron(1.0, levels=1)
    paper = ecl.DualThreshold(1.0, negative_threshold=-1 / 32, init_hidden=True)
    a, b = (n(current.flatten(), num_steps=20) for n in (one, paper))
    assert torch.equal(a, b)
    assert bool((a < 0).any())


def test_energy_counts_a_graded_spike_as_a_multiplication() -> None:
    _, snn = dyadic(BY_NAME["sequential"], L)
    x = BY_NAME["sequential"].inputs(16)[0] * 2
    cost = ecl.energy(graded(snn), [x], num_steps=1, progress=False)
    assert cost.levels_per_step == 2 * L + 1
    assert cost.total("macs") > 24
    assert cost.total("acs") == 0


def test_levels_must_be_known() -> None:
    snn = ecl.convert(nn.Sequential(ecl.ThresholdClip(None, 1.0), nn.Linear(2, 2)))
    with pytest.raises(
        UnsupportedError, match=r"0 \(DualThreshold\): it has no levels\n.*levels=L"
    ):
        graded(snn)
    assert graded(snn, levels=3).neurons["0"].levels == 3
    with pytest.raises(ConfigError, match="is lowered already"):
        graded(graded(snn, levels=3))
    with pytest.raises(ConfigError):
        graded(snn, levels=0)


def test_plain_neurons_never_take_back_and_the_source_keeps_its_threshold() -> None:
    torch.manual_seed(0)
    net = BY_NAME["sequential"]
    ann, data = net.prepared(L), [net.inputs(64)[0]]
    snn = ecl.convert(ann)
    chip = plain(snn, ann, data, num_steps=4, method="biases", progress=False)
    assert {n.negative_threshold for n in chip.neurons.values()} == {-math.inf}
    assert {n.negative_threshold for n in snn.neurons.values()} == {-1e-3}
    assert ecl.energy(chip, data, num_steps=4, progress=False).total("negative") == 0
    dropped = ecl.convert(ann, negative_threshold=-math.inf)
    errors = [(s(data[0], num_steps=4) - ann(data[0])).square().sum() for s in (dropped, chip)]
    assert errors[1] < errors[0]
    with pytest.raises(ConfigError, match="is lowered already"):
        plain(graded(snn), ann, data, num_steps=4)
