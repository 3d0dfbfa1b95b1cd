"""Costs: against counts by hand, loops over every synapse, and laws of conservation."""

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError, DataError
from snntorch_ecl.measurement import Constants

STEPS = 4


def converted(*layers: nn.Module, **settings: Any) -> ecl.SpikingNetwork:
    return ecl.convert(nn.Sequential(*layers), **settings)


def cost(snn: ecl.SpikingNetwork, *batches: Tensor, **settings: Any) -> ecl.Energy:
    return ecl.energy(snn, batches, num_steps=STEPS, progress=False, **settings)


def by_name(energy: ecl.Energy) -> dict[str, Any]:
    return {layer.name: layer for layer in energy.layers}


# ------------------------------------------------------------------------------------- counts


def test_a_network_counted_by_hand() -> None:
    """Constant current 0.5 θ and 1 θ: two and four spikes in four steps."""
    first, last = nn.Linear(2, 2, bias=False), nn.Linear(2, 3)
    first.weight.data = torch.tensor([[0.5, 0.0], [0.0, 1.0]])
    snn = converted(first, ecl.ThresholdClip(STEPS, 1.0), last)
    energy = cost(snn, torch.ones(1, 2), torch.ones(2, 2))
    layers = by_name(energy)
    assert (layers["0"].macs, layers["0"].acs, layers["0"].ann_macs) == (4, 0, 4)
    assert (layers["2"].macs, layers["2"].acs, layers["2"].ann_macs) == (0, 6 * 3, 6)
    neuron = layers["1"]
    assert (neuron.updates, neuron.spikes, neuron.negative, neuron.neurons) == (8, 6, 0, 2)
    assert (neuron.parameters, neuron.state_bytes) == (1, 2 * (4 + 4))
    assert (layers["0"].parameters, layers["2"].parameters) == (4, 9)
    assert energy.samples == 3
    assert energy.snn_total == pytest.approx((4 * 4.6 + 18 * 0.9) * 1e-12)
    assert energy.ann_total == pytest.approx(10 * 4.6e-12)


def test_a_spike_that_is_taken_back_costs_like_any_other() -> None:
    """The second neuron fires early, and takes one back when the first is silent."""
    shift = nn.Linear(1, 1)
    shift.weight.data, shift.bias.data = torch.tensor([[3.0]]), torch.tensor([-2.0])
    snn = converted(
        ecl.ThresholdClip(STEPS, 1.0), shift, ecl.ThresholdClip(STEPS, 1.0), nn.Linear(1, 5)
    )
    layers = by_name(cost(snn, torch.tensor([[0.75]])))
    # Spikes 1 1 0 1 make currents 1 1 −2 1, and those the spikes 1 1 −1 0.
    assert (layers["2"].spikes, layers["2"].negative) == (3, 1)
    assert layers["3"].acs == 5 * 3


def test_neurons_that_spike_at_every_step_use_every_synapse() -> None:
    snn = converted(
        ecl.ThresholdClip(STEPS, 1.0), nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2)
    )
    layer = by_name(cost(snn, torch.full((3, 2, 5, 5), 7.0)))["1"]
    assert layer.acs == STEPS * layer.ann_macs
    assert layer.macs == 0


def test_every_event_is_counted_at_every_place_it_reaches() -> None:
    """The same sum, one spike after another, from a recording of the spikes."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, padding=1)
    snn = converted(nn.Conv2d(2, 3, 3), ecl.ThresholdClip(STEPS, torch.rand(3) + 0.5), conv)
    spikes: list[Tensor] = []
    handle = snn.net.get_submodule("1").register_forward_hook(lambda m, a, out: spikes.append(out))
    images = torch.randn(5, 2, 6, 6)
    layer = by_name(cost(snn, images[:2], images[2:]))["2"]
    handle.remove()
    expected = 0
    for _, _, y, x in (index for batch in spikes for index in (batch != 0).nonzero().tolist()):
        reached = (3 if 0 < y < 3 else 2) * (3 if 0 < x < 3 else 2)  # on 4 × 4 places
        expected += 4 * reached
    assert layer.acs == pytest.approx(expected / 5)


def test_averages_of_spikes_multiply() -> None:
    torch.manual_seed(0)
    snn = converted(ecl.ThresholdClip(STEPS, 1.0), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 3))
    energy = cost(snn, torch.rand(4, 2, 4, 4))
    layer = by_name(energy)["3"]
    assert layer.acs == 0
    assert 0 < layer.macs <= STEPS * layer.ann_macs
    assert energy.not_counted == ("1 (AvgPool2d)",)


def test_max_pooling_hands_events_on() -> None:
    torch.manual_seed(0)
    snn = converted(
        ecl.ThresholdClip(STEPS, torch.rand(2) + 0.5), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(8, 3),
    )  # fmt: skip
    layer = by_name(cost(snn, torch.randn(9, 2, 4, 4)))["3"]
    assert layer.macs == 0
    assert layer.acs > 0


def test_what_has_no_entry_is_named() -> None:
    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clip, self.norm = ecl.ThresholdClip(STEPS, 1.0), nn.BatchNorm2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return (self.norm(self.clip(x)) + x).flatten(1).mean(1)

    missing = cost(ecl.convert(Sums().eval()), torch.rand(2, 2, 3, 3)).not_counted
    assert missing == ("norm (BatchNorm2d)", "add (add)", "mean (mean)")


def test_a_plain_neuron_needs_no_memory_for_counts() -> None:
    layers = nn.Linear(2, 3), ecl.ThresholdClip(STEPS, 1.0)
    dual, plain = (
        by_name(cost(converted(*layers, negative_threshold=theta), torch.rand(2, 2)))["1"]
        for theta in (-1e-3, -math.inf)
    )
    assert (dual.state_bytes, plain.state_bytes) == (24, 12)
    assert plain.negative == 0


# ---------------------------------------------------------------------------------- the result


def test_constants_can_be_replaced() -> None:
    snn, x = converted(nn.Linear(2, 3), ecl.ThresholdClip(STEPS, 1.0)), torch.rand(1, 2)
    energy = cost(snn, x, constants=Constants(mac=10.0, ac=0.0, update=2.0))
    assert energy.snn_total == pytest.approx((6 * 10 + 3 * STEPS * 2) * 1e-12)
    assert energy.ann_total == pytest.approx(60e-12)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["mac", "ac", "update"])
def test_impossible_constants_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be finite and >= 0"):
        Constants(**{name: value})


def test_bad_input_is_refused_and_nothing_is_left_behind() -> None:
    snn = converted(nn.Linear(2, 3), ecl.ThresholdClip(STEPS, 1.0))
    with pytest.raises(DataError, match="the data is empty"):
        ecl.energy(snn, [], num_steps=STEPS)
    with pytest.raises(ConfigError, match="num_steps"):
        ecl.energy(snn, [torch.rand(1, 2)], num_steps=0)
    with pytest.raises(DataError, match="batch 0 must be a tensor"):
        ecl.energy(snn, ["x"], num_steps=STEPS)
    assert not any(m._forward_hooks for m in snn.modules())


def test_the_result_for_people_programs_and_eyes() -> None:
    snn = converted(nn.Linear(2, 3), ecl.ThresholdClip(STEPS, 1.0), nn.Linear(3, 2))
    energy = cost(snn, torch.rand(4, 2))
    text = str(energy)
    assert "its ANN" in text
    assert "Not counted: memory traffic, static power, nothing." in " ".join(text.split())
    plain = json.loads(json.dumps(energy.to_dict()))
    assert plain["snn_joules"] == energy.snn_total
    assert [layer["name"] for layer in plain["layers"]] == ["0", "1", "2"]
    axes = energy.plot().axes[0]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths[:2] == pytest.approx([1e6 * 6 * 4.6e-12] * 2)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "2"]
