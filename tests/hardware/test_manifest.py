"""What a network needs on a chip: known counts; limits name layer, need and remedy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError, DataError
from snntorch_ecl.hardware import Limits, Manifest, manifest
from snntorch_ecl.hardware._pools import windows

from ..helpers.parts import conv, head, wired


def network() -> ecl.SpikingNetwork:
    torch.manual_seed(0)
    return ecl.convert(
        nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), ecl.ThresholdClip(4, 0.3),
                      nn.Conv2d(4, 6, 3), ecl.ThresholdClip(4, 0.2), nn.Flatten(),
                      nn.Linear(96, 5))
    )  # fmt: skip


def images() -> torch.Tensor:
    return torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(1)) * 4 - 1


def needs(snn: ecl.SpikingNetwork, **limits: Any) -> Manifest:
    given = Limits(chip="mine", **limits) if limits else None
    return manifest(snn, [images()], num_steps=4, limits=given)


def test_counts_that_can_be_worked_out_by_hand() -> None:
    whole = ecl.to_integers(network(), num_steps=4)
    found = {part.name: part for part in needs(whole).parts}
    assert (found["1"].neurons, found["3"].neurons) == (4 * 36, 6 * 16)
    assert found["2"].synapses == 6 * 16 * 4 * 9
    assert (found["2"].fan_in, found["2"].fan_out) == (36, 54)
    assert (found["5"].synapses, found["5"].fan_in, found["5"].fan_out) == (480, 96, 5)
    assert found["2"].weights == 6 * 4 * 9 + 6
    assert found["2"].weight_bytes == 6 * 4 * 9 + 6 * 3  # 8-bit weights, 24-bit biases
    assert found["1"].state_bytes == 4 * 36 * 27 / 8  # 24 bits, and 3 for a count up to 4
    cost = ecl.energy(whole, [images()], num_steps=4, progress=False)
    total = sum(part.spikes for part in found.values())
    assert total * 4 == pytest.approx(cost.total("spikes"))


def test_max_pooling_is_units_and_a_clock_has_lines() -> None:
    torch.manual_seed(0)
    ann = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), ecl.ThresholdClip(4, 0.3), nn.MaxPool2d(2),
                        nn.Flatten(), nn.Linear(36, 5))  # fmt: skip
    whole = ecl.to_integers(ecl.convert(ann), num_steps=4)
    chips = (whole, ecl.two_channels(whole))
    for lines, chip in enumerate(chips, start=1):
        parts = {part.name: part for part in needs(chip).parts}
        assert [name for name in parts if "sum" in name] == []
        pool = parts["2"]
        assert (pool.neurons, pool.synapses, pool.fan_in) == (36, 144 * lines, 4 * lines)
        assert (pool.fan_out, pool.takes_back) == (1, True)
        assert pool.state_bytes == 144 * 3 / 8  # of each neuron that it reads, a count up to 4
    has = [(m.layer, m.has) for m in needs(whole, programmable=False).misfits]
    assert has == [("1", "second threshold, count"), ("2", "a count of each input")]
    plain = ecl.settle_then_fire(ecl.convert(ann), [images()], num_steps=4)
    found = manifest(plain, [images()], num_steps=plain.latency)
    parts = {part.name: part for part in found.parts}
    pool, clock = parts["2"], parts["1_pulses"]
    assert (pool.neurons, pool.synapses, pool.state_bytes, pool.takes_back) == (36, 144, 0, False)
    assert (clock.synapses, clock.fan_in, clock.fan_out) == (3 * 144, 3, 144)
    assert clock.weight_bytes == (4 + 2) * 4  # the start by channel, release and close: 32 bits


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, 2, 1), nn.MaxPool2d((2, 3), (1, 2), dilation=(2, 1)), nn.MaxPool1d(2, 1),
        nn.MaxPool2d(3, 2, ceil_mode=True), nn.AdaptiveMaxPool2d((3, 2)), nn.MaxPool3d(2, 1),
    ],
    ids=str,
)  # fmt: skip
def test_windows_are_those_in_which_a_value_can_be_the_maximum(pool: nn.Module) -> None:
    sides = {"1d": 1, "2d": 2, "3d": 3}[type(pool).__name__[-2:]]
    shape = torch.Size((2, *(5, 6, 4)[:sides]))
    ways, largest = windows(pool, shape, pool(torch.zeros(1, *shape))[0].shape)
    wins = torch.zeros(shape)
    for place in range(wins.numel()):
        one = torch.zeros(wins.numel())
        one[place] = 1
        wins.view(-1)[place] = pool(one.view(1, *shape)).sum()
    assert torch.equal(ways, wins)
    size = getattr(pool, "kernel_size", None)
    if isinstance(size, int):
        assert largest == size**sides


def test_a_shortcut_has_synapses_in_parallel_so_that_other_weights_use_their_bits() -> None:
    torch.manual_seed(0)
    body = wired(lambda m, x: m.s(m.c(m.r(m.a(x))) * 0.1 + m.r(m.a(x))), a=conv(), c=conv(4),
                 r=ecl.ThresholdClip(4, 1.0), s=ecl.ThresholdClip(4, 1.0))  # fmt: skip
    snn, x = ecl.convert(nn.Sequential(body, head())), torch.rand(3, 2, 6, 6)
    whole = ecl.to_integers(snn, num_steps=4)
    (name,) = (n for n, m in whole.net.named_modules() if type(m).__name__ == "ChannelWeights")
    rows = whole.net.get_submodule(name).weight
    assert rows[:, 0].tolist() == [127, 127, 2]  # θ is 256; with one synapse it could be 64
    assert whole.neurons["0.s"].threshold.tolist() == [256] * 4
    found = {part.name: part for part in manifest(whole, [x], num_steps=4).parts}
    assert (found[name].fan_in, found[name].synapses) == (3, 3 * 144)
    two = ecl.two_channels(whole)
    assert torch.equal(two(x, num_steps=4), whole(x, num_steps=4))
    lines = {part.name: part for part in manifest(two, [x], num_steps=4).parts}
    assert (lines[name].fan_in, lines[name].synapses) == (6, 2 * 3 * 144)


def test_two_lines_have_no_event_below_zero_and_twice_the_weights() -> None:
    whole = ecl.to_integers(network(), num_steps=4)
    one, two = (
        needs(whole, signed_spikes=False),
        needs(ecl.two_channels(whole), signed_spikes=False),
    )
    assert {m.limit for m in one.misfits} == {"signed_spikes"}
    assert "two-channels or settle" in one.misfits[0].remedy
    assert two.misfits == ()
    by_name = [{p.name: p for p in found.parts} for found in (one, two)]
    assert by_name[1]["2"].fan_in == 2 * by_name[0]["2"].fan_in


def test_plain_neurons_need_no_second_threshold() -> None:
    snn = network()
    chip = ecl.settle_then_fire(snn, [images()], num_steps=2)
    limits = Limits(chip="mine", signed_spikes=False, programmable=False)
    found = manifest(chip, [images()], num_steps=chip.latency, limits=limits)
    assert found.misfits == ()
    refused = needs(ecl.two_channels(snn), programmable=False).misfits
    assert [(m.layer, m.limit) for m in refused] == [("1", "programmable"), ("3", "programmable")]


@pytest.mark.parametrize(
    ("limits", "layer", "needed"),
    [
        ({"fan_in": 90}, "5", "96"),
        ({"weight_bits": 4}, "", "8"),
        ({"membrane_bits": 16}, "", "24"),
        ({"neurons_per_core": 100, "splits_layers": False}, "1", "144"),
        ({"weights_per_core": 400, "splits_layers": False}, "5", "485"),
        ({"neurons_per_core": 50, "cores": 4}, "", "5"),
        ({"cores": 2, "splits_layers": False}, "", "3"),
    ],
)
def test_what_does_not_fit_is_named(limits: dict[str, Any], layer: str, needed: str) -> None:
    found = needs(ecl.to_integers(network(), num_steps=4), **limits)
    (misfit,) = found.misfits
    assert (misfit.layer, misfit.has) == (layer, needed)
    assert "mine: 1 limit(s) not kept" in str(found)
    assert misfit.remedy in str(found.to_dict())


def test_bad_limits_and_no_data() -> None:
    with pytest.raises(ConfigError, match="fan_in must be an integer >= 1; got 0"):
        Limits(chip="mine", fan_in=0)
    with pytest.raises(
        ConfigError, match="signed_spikes must be True or False, or None: not known"
    ):
        Limits(chip="mine", signed_spikes="no")
    with pytest.raises(ConfigError, match="splits_layers must be True or False"):
        Limits(chip="mine", splits_layers=None)
    with pytest.raises(ConfigError, match="chip must be a name; got None"):
        Limits(chip=None)
    with pytest.raises(DataError, match="no image to count spikes on"):
        manifest(network(), [], num_steps=4)
