"""Two event lines a neuron: no event below zero, and spikes equal to those of the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import snntorch_ecl as ecl
from snntorch_ecl.errors import InputError, UnsupportedError
from snntorch_ecl.hardware import two_channels
from snntorch_ecl.hardware._lines import EventLines

from ..helpers.nets import BY_NAME, Net, exact, over, over_kinds
from ..helpers.parts import conv, head, on_grid, recorded, wired

WHOLE = [BY_NAME[n] for n in ("residual", "concat", "max-pool", "avg-pool", "shared conv", "split")]


def check_equal(snn: ecl.SpikingNetwork, inputs: tuple[Tensor, ...]) -> ecl.SpikingNetwork:
    """Every neuron's spikes at every step, and the outputs."""
    chip = two_channels(snn)
    expected, spikes = recorded(snn, lambda: snn(*inputs, num_steps=5))
    found, others = recorded(chip, lambda: chip(*inputs, num_steps=5))
    for name in (f"net.{name}" for name in snn.neurons):
        assert torch.equal(spikes[name], others[name]), name
    for a, b in zip(tree_leaves(expected), tree_leaves(found), strict=True):
        torch.testing.assert_close(a, b)
    return chip


def read_by_weights(chip: ecl.SpikingNetwork, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """What reaches layers with weights behind the first neuron."""
    seen: list[Tensor] = []
    lines = {n for n, m in chip.net.named_modules() if isinstance(m, EventLines)}
    hooks = [
        chip.net.get_submodule(name).register_forward_hook(lambda m, _, out: seen.append(out))
        for name in lines
    ]
    chip(*inputs, num_steps=5)
    for hook in hooks:
        hook.remove()
    return seen


@over_kinds
def test_every_spike_is_that_of_the_reference(net: Net) -> None:
    snn, inputs = exact(net.name), tuple(on_grid(x, 16) for x in net.inputs())
    chip = check_equal(snn, inputs)
    events = read_by_weights(chip, inputs)
    assert all(bool((e >= 0).all()) for e in events)


@over(WHOLE)
def test_with_whole_numbers_all_is_equal_bit_for_bit(net: Net, tmp_path: Path) -> None:
    whole, inputs = ecl.to_integers(ecl.convert(net.prepared(4)), num_steps=5), net.inputs()
    chip = check_equal(whole, inputs)
    outputs = (tree_leaves(s(*inputs, num_steps=5)) for s in (whole, chip))
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))
    assert [one["kind"] for one in chip.lowerings] == ["integers", "two channels"]
    loaded = ecl.load(chip.save(tmp_path / "chip.safetensors"), net.prepared(4))
    a, b = (tree_leaves(s(*inputs, num_steps=5)) for s in (chip, loaded))
    assert all(map(torch.equal, a, b))
    assert loaded.integers == whole.integers


@given(st.integers(0, 2**31), st.integers(1, 6))
@settings(max_examples=8, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
def test_any_weights_and_any_input_give_equal_spikes(seed: int, num_steps: int) -> None:
    torch.manual_seed(seed)
    body = wired(lambda m, x: m.s(m.c(m.p(m.r(m.a(x)))) + m.p(m.r(m.a(x)))), a=conv(), c=conv(4),
                 p=nn.MaxPool2d(2), r=ecl.ThresholdClip(4, 0.5),
                 s=ecl.ThresholdClip(4, 0.25))  # fmt: skip
    snn = ecl.convert(nn.Sequential(body, head()), unit_spikes=bool(seed % 2))
    for parameter in snn.parameters():
        parameter.data = on_grid(3 * parameter, 64)
    steps = on_grid(torch.randn(num_steps, 2, 2, 6, 6), 16)
    chip = two_channels(snn)
    expected, spikes = recorded(snn, lambda: snn.forward_steps(steps))
    found, others = recorded(chip, lambda: chip.forward_steps(steps))
    assert all(torch.equal(spikes[f"net.{n}"], others[f"net.{n}"]) for n in snn.neurons)
    torch.testing.assert_close(expected, found)


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_grouped_convolutions_read_the_lines_of_their_channels(kind: Any, groups: int) -> None:
    torch.manual_seed(groups)
    body = [conv(), ecl.ThresholdClip(4, 0.5), kind(4, 4, 3, groups=groups),
            ecl.ThresholdClip(4, 0.5), head()]  # fmt: skip
    snn = ecl.convert(nn.Sequential(*body))
    for parameter in snn.parameters():
        parameter.data = on_grid(parameter, 64)
    x = on_grid(torch.randn(3, 2, 6, 6), 16)
    chip = check_equal(snn, (x,))
    assert (
        chip.net.get_submodule("2").weight.numel() == 2 * snn.net.get_submodule("2").weight.numel()
    )


def test_a_spike_taken_back_is_an_event_on_the_other_line() -> None:
    snn = ecl.convert(nn.Sequential(ecl.ThresholdClip(4, 1.0), nn.Linear(1, 1)))
    chip = two_channels(snn)
    currents = torch.tensor([0.8, -0.8, 0.0]).view(3, 1, 1)  # 1.3 fires, −0.5 takes back
    seen: list[Tensor] = []
    chip.net.get_submodule("0_lines").register_forward_hook(lambda m, _, out: seen.append(out))
    chip.forward_steps(currents)
    assert torch.cat(seen).tolist() == [[1, 0], [0, 1], [0, 0]]
    weight = snn.net.get_submodule("1").weight.item()
    assert chip.net.get_submodule("1").weight.tolist() == [[weight, -weight]]


def test_it_costs_as_many_additions_and_twice_the_weights() -> None:
    net = BY_NAME["max-pool"]
    snn, x = exact(net.name), on_grid(net.inputs()[0], 16)
    costs = [ecl.energy(s, [x], num_steps=4, progress=False) for s in (snn, two_channels(snn))]
    rows = [{la.name: la for la in cost.layers} for cost in costs]
    assert rows[0]["3"].acs == rows[1]["3"].acs > 0
    assert rows[1]["3"].parameters == 2 * rows[0]["3"].parameters - 4
    assert costs[0].total("spikes") == costs[1].total("spikes")


class Sums(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(1)


def test_what_cannot_be_lowered_is_listed_and_nothing_is_changed() -> None:
    ann = nn.Sequential(ecl.ThresholdClip(4, 1.0), Sums(), nn.Linear(4, 4),
                        ecl.ThresholdClip(4, 1.0), nn.GELU(), nn.Linear(4, 2))  # fmt: skip
    snn = ecl.convert(ann, handlers={Sums: ecl.keep}, leaf_modules=[Sums])
    before = snn.net.code
    with pytest.raises(UnsupportedError) as caught:
        two_channels(snn)
    assert "1 (Sums): it is not known what it makes of two lines" in str(caught.value)
    assert "4 (Difference): it computes in floating point" in str(caught.value)
    assert snn.net.code == before


def test_features_that_are_no_channels_are_refused() -> None:
    body = wired(lambda m, x: m.f(m.r(m.a(x))), a=conv(), r=ecl.ThresholdClip(4, 1.0),
                 f=nn.Linear(6, 2))  # fmt: skip
    with pytest.raises(UnsupportedError, match="its features are not the channels that have lines"):
        two_channels(ecl.convert(body))
    chip = two_channels(ecl.convert(nn.Sequential(ecl.ThresholdClip(4, 1.0), nn.Linear(6, 2))))
    with pytest.raises(InputError, match=r"linear layers behind them \[B, C\]; got .* \[3, 5, 6\]"):
        chip.net(torch.rand(3, 5, 6), 1, 1)
