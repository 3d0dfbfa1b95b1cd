"""What a network needs on a chip: known counts; limits name layer, need and remedy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError, DataError
from snntorch_ecl.hardware import Limits, Manifest, manifest


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
