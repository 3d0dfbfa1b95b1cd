"""``levelled``: at one T each layer shows its own L levels, as its clip does."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError, UnsupportedError
from snntorch_ecl.hardware._levelled import LevelledNeuron

from ..helpers.nets import BY_NAME
from ..helpers.parts import clips_of, recorded

pytestmark = pytest.mark.usefixtures("seeded_without_gradients")


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("levels", "num_steps"), [(1, 1), (1, 5), (2, 3), (3, 8), (5, 7), (4, 4)])
def test_a_constant_input_gives_what_the_clip_gives_at_any_longer_run(
    levels: int, num_steps: int, signed: bool
) -> None:
    """Ties included: λ = L/8 makes λ·T/L, and so all sums, exact."""
    clip = ecl.ThresholdClip(levels, levels / 8, signed=signed)
    z = torch.arange(-96, 97).view(1, -1) / 64
    net = nn.Sequential(clip, nn.Identity())
    chip = ecl.levelled(ecl.convert(net), num_steps=num_steps)
    torch.testing.assert_close(chip(z), clip(z), rtol=1e-6, atol=0)
    counts = chip(z) * 8  # one spike adds θ/T = 1/8
    assert torch.equal(counts.round(), (clip(z) * 8).round())


def oracle(
    currents: list[float], theta: Fraction, most: int, signed: bool
) -> tuple[list[int], Fraction]:
    """ECL eq. 4-5 with a bound on the net count, in exact arithmetic."""
    v, n, spikes = theta / 2, 0, []
    for current in currents:
        v += Fraction(current)
        s = 0
        if v >= theta and n < most:
            s = 1
        elif v < 0 and n > (-most if signed else 0):
            s = -1
        v, n = v - theta * s, n + s
        spikes.append(s)
    return spikes, v


@given(st.lists(st.integers(-40, 40).map(lambda k: k / 16), min_size=1, max_size=9),
       st.sampled_from([1, 2, 3]), st.booleans())  # fmt: skip
@settings(max_examples=60, deadline=None, derandomize=True, database=None,
          phases=[Phase.generate])  # fmt: skip
def test_spikes_are_those_of_exact_arithmetic(
    currents: list[float], most: int, signed: bool
) -> None:
    neuron = LevelledNeuron(
        0.5, most_spikes=most, negative_threshold=0, signed=signed, init_hidden=True
    )
    spikes, membrane = oracle(currents, Fraction(1, 2), most, signed)
    assert neuron(torch.tensor(currents), num_steps=len(currents)).tolist() == spikes
    assert neuron.membrane.item() == membrane


@pytest.mark.parametrize("unit_spikes", [False, True])
@pytest.mark.parametrize("name", ["residual", "max-pool", "concat"])
def test_no_net_count_exceeds_the_levels_and_the_file_brings_all_back(
    name: str, unit_spikes: bool, tmp_path: Path
) -> None:
    net = BY_NAME[name]
    ann = net.prepared(6)
    first, *_, last = clips_of(ann)
    levels = {first: 1, last: 3, "*": 2}
    x = net.inputs(8)[0]
    snn = ecl.convert(ann, unit_spikes=unit_spikes)
    chip = ecl.levelled(snn, num_steps=6, levels=levels)
    shown = {layer.name: layer.levels for layer in chip.layers}
    assert shown == {n: levels.get(n, 2) for n in clips_of(ann)}
    out, spikes = recorded(chip, lambda: chip(x))
    for layer, most in shown.items():
        neuron = chip.neurons[layer]
        train = spikes[f"net.{layer}"].unflatten(0, (6, -1)).sign()
        assert int(train.sum(0).max()) == most, layer  # reached, never exceeded
        assert float(neuron.threshold) == pytest.approx(
            6 / most * float(snn.neurons[layer].threshold)
        )
    loaded = ecl.load(chip.save(tmp_path / "chip.safetensors"), net.prepared(6))
    assert torch.equal(loaded(x), out)
    assert [layer.levels for layer in loaded.layers] == list(shown.values())
    other = ecl.convert(ann, unit_spikes=not unit_spikes)
    torch.testing.assert_close(ecl.levelled(other, num_steps=6, levels=levels)(x), out)


def test_without_levels_the_network_is_that_of_convert() -> None:
    net = BY_NAME["residual"]
    x = net.inputs(8)[0]
    for ann in (net.prepared(None), net.prepared(9)):
        snn = ecl.convert(ann)
        chip = ecl.levelled(snn, num_steps=4)
        assert torch.equal(chip(x), snn(x, num_steps=4))
        assert chip.latency == 4


def test_what_takes_it_treats_it_right_and_the_rest_refuses_it() -> None:
    net = BY_NAME["residual"]
    ann, x = net.prepared(2), net.inputs(32)[0]
    chip = ecl.levelled(ecl.convert(ann), num_steps=6)
    assert "made for runs of 6 steps" in str(chip)
    torch.testing.assert_close(ecl.two_channels(chip)(x), chip(x))
    better = ecl.compensate(chip, net.prepared(), [x], num_steps=6, progress=False)
    assert {type(n) for n in better.neurons.values()} == {LevelledNeuron}
    refusals: list[tuple[Any, type[Exception], str]] = [
        (lambda: chip(x, num_steps=4), ConfigError, "made for runs of 6 steps; got num_steps=4"),
        (lambda: chip.settle(x), UnsupportedError, "a state of its own"),
        (lambda: ecl.levelled(chip, num_steps=6), ConfigError, "is lowered already"),
        (lambda: ecl.to_integers(chip, num_steps=6), UnsupportedError,
         "(LevelledNeuron): it is not the neuron"),
        (lambda: ecl.compensate(chip, ann, [x], num_steps=6, method="steps"), ConfigError,
         "lowered after that. Compensate first"),
        (lambda: ecl.levelled(ecl.convert(ann, spike_sizes=2), num_steps=4), UnsupportedError,
         "several sizes"),
        (lambda: ecl.levelled(ecl.convert(ann), num_steps=4, levels={"nothing": 3}), ConfigError,
         "levels names 'nothing'"),
        (lambda: ecl.levelled(ecl.convert(ann), num_steps=0), ConfigError, "num_steps"),
        (lambda: ecl.levelled(ann, num_steps=4), ConfigError, "must be a SpikingNetwork"),
    ]  # fmt: skip
    for call, error, message in refusals:
        with pytest.raises(error, match=re.escape(message)):
            call()


def test_distillation_knows_the_bound() -> None:
    """Its stand-in for a neuron answers a constant current as the neuron does."""
    from snntorch_ecl.conversion._rates import Replay

    chip = ecl.levelled(
        ecl.convert(nn.Sequential(ecl.ThresholdClip(2, 1.0), nn.Linear(4, 3))), num_steps=5
    )
    x = torch.rand(16, 4) * 3
    output, _ = Replay(chip, {}, 5).means(x, None)
    torch.testing.assert_close(output, chip(x))
