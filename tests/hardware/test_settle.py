"""Settle, then fire: plain neurons and clock pulses equal the quantised ANN, in all layers."""

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
from snntorch_ecl.errors import ConfigError, DataError, InputError, StateError, UnsupportedError
from snntorch_ecl.hardware import settle_then_fire

from ..helpers.nets import BY_NAME, SMALL, Net, over, over_kinds_of
from ..helpers.parts import clips_of, conv, head, on_grid, recorded, wired

T = 4
# Max-pooling of what are no spikes; layers with biases that follow each other.
REFUSED = {"max-pool before relu"}
ONE_INPUT = [net for net in SMALL if net.name != "two inputs"]
KNOWN = [net for net in ONE_INPUT if net.name not in REFUSED]


def dyadic(net: Net | nn.Module, levels: int = T) -> tuple[nn.Module, ecl.SpikingNetwork]:
    """An ANN and its spiking network whose sums are exact in any order."""
    ann = net.prepared(levels) if isinstance(net, Net) else net
    for parameter in ann.parameters():
        parameter.data = on_grid(parameter, 64)
    for norm in (m for m in ann.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)):
        norm.eps = 0.0
        norm.running_var.fill_(1)
        norm.running_mean = on_grid(norm.running_mean, 64)
    for clip in clips_of(ann).values():
        clip.threshold = on_grid(clip.threshold, 16).clamp_min(1 / 16)
    return ann.eval(), ecl.convert(ann)


def activations(ann: nn.Module, x: Tensor) -> tuple[Any, dict[str, Tensor]]:
    """What an ANN returns, and what each clip does."""
    seen: dict[str, Tensor] = {}
    hooks = [
        clip.register_forward_hook(lambda m, _, out, name=name: seen.update({name: out}))
        for name, clip in clips_of(ann).items()
    ]
    out = ann(x)
    for hook in hooks:
        hook.remove()
    return out, seen


def check_equal(ann: nn.Module, chip: ecl.SpikingNetwork, x: Tensor, num_steps: int) -> None:
    """Each neuron's spikes, step by step, are those that the ANN's activation asks for."""
    expected, values = activations(ann, x)
    found, spikes = recorded(chip, lambda: chip(x))
    for name, neuron in chip.neurons.items():
        assert neuron.negative_threshold == -float("inf")
        worth = neuron.graded_spikes_factor
        worth = worth.view(-1, *[1] * (values[name].ndim - 2)) if worth.ndim else worth
        train = (spikes[f"net.{name}"] / worth).view(chip.latency, *values[name].shape)
        counts = (values[name] / worth * num_steps).round()
        fired = train.sum(0)
        assert torch.equal(fired, counts), name
        first = int(train.flatten(1).any(1).nonzero().min()) if bool(train.any()) else 0
        first -= first % num_steps
        ranks = torch.arange(num_steps).view(-1, *[1] * fired.ndim)
        window = train[first : first + num_steps]
        assert torch.equal(window, (ranks < counts).to(window.dtype)), name
    for a, b in zip(tree_leaves(expected), tree_leaves(found), strict=True):
        torch.testing.assert_close(a, b)


@over_kinds_of(KNOWN)
def test_every_spike_is_what_the_quantised_ann_asks_for(net: Net) -> None:
    ann, snn = dyadic(net)
    x = on_grid(net.inputs()[0], 16)
    check_equal(ann, settle_then_fire(snn, [x], num_steps=T), x, T)


@given(st.integers(0, 2**31), st.integers(1, 6))
@settings(max_examples=8, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
def test_any_weights_any_number_of_steps(seed: int, num_steps: int) -> None:
    torch.manual_seed(seed)
    parts = {"a": conv(), "c": conv(4), "d": conv(4), "p": nn.MaxPool2d(2), "q": nn.AvgPool2d(2)}
    clips = {name: ecl.ThresholdClip(num_steps, 0.5) for name in ("r", "s", "t")}
    body = wired(lambda m, x: m.t(m.d(m.p(m.s(m.c(y := m.r(m.a(x)))))) + m.q(y)),
                 **parts, **clips)  # fmt: skip
    ann = nn.Sequential(body, head())
    for parameter in ann.parameters():
        parameter.data *= 3
    ann, snn = dyadic(ann)
    x = on_grid(torch.randn(2, 2, 6, 6), 16)
    chip = settle_then_fire(snn, [x], num_steps=num_steps)
    assert chip.latency == 4 * num_steps
    check_equal(ann, chip, x, num_steps)


def test_a_run_step_by_step_with_all_its_pulses_by_hand() -> None:
    """θ = 1, T = 2, two layers: z = 0.75 gives n = 2; 0.5 · 2/2 − 0.25 = 0.25 gives n = 1."""
    ann = nn.Sequential(ecl.ThresholdClip(2, 1.0), nn.Linear(1, 1), ecl.ThresholdClip(2, 1.0))
    ann[1].weight.data.fill_(0.5)
    ann[1].bias.data.fill_(-0.25)
    chip = settle_then_fire(ecl.convert(ann), [torch.full((1, 1), 0.75)], num_steps=2)
    pulses = [chip.net.get_submodule(f"{name}_pulses").bias.flatten().tolist() for name in "02"]
    assert pulses[0] == [-4, 0, 4, 0, -4, 0]  # v reaches 0.5 + 2 · 0.75 = 2, times 2
    assert pulses[1] == [-2.5, 0, 0, 0, 2, 0, -2, 0]  # 0.5 − 2 · 0.25 + 2 · 0.5 = 1, times 2
    _, spikes = recorded(chip, lambda: chip(torch.full((1, 1), 0.75)))
    assert spikes["net.0"].flatten().tolist() == [0, 0, 1, 1, 0, 0]
    assert spikes["net.2"].flatten().tolist() == [0, 0, 0, 0, 1, 0]
    assert chip.latency == 6
    assert chip(torch.full((1, 1), 0.75)).item() == 0.5


@pytest.mark.parametrize("name", ["residual", "max-pool", "avg-pool", "conv + bn"])
def test_whole_numbers_settle_as_well_and_are_saved(name: str, tmp_path: Path) -> None:
    net = BY_NAME[name]
    ann, snn = dyadic(net)
    x = on_grid(net.inputs()[0], 16)
    chip = settle_then_fire(snn, [x], num_steps=T)
    whole = ecl.to_integers(chip, [x])
    assert whole.latency == chip.latency
    run = whole(x)
    whole.reset()
    assert torch.equal(sum(whole.step(x) for _ in range(whole.latency)) / whole.latency, run)
    # One level of a neuron whose weights were rounded, at most.
    assert (run - ann(x)).abs().max() < 0.2 * ann(x).abs().max() + 0.1
    for one in (chip, whole):
        loaded = ecl.load(one.save(tmp_path / "chip.safetensors"), net.prepared(T))
        assert torch.equal(loaded(x), one(x))
        assert loaded.latency == one.latency


def test_it_is_measured_like_any_network_but_never_ends_early() -> None:
    net = BY_NAME["max-pool"]
    _, snn = dyadic(net)
    x = net.inputs(6)[0]
    chip = settle_then_fire(snn, [x], num_steps=2)
    y = chip(x).argmax(1)
    found = ecl.evaluate(chip, [(x, y)], num_steps=chip.latency, progress=False)
    assert found.accuracy[-1] == 1
    cost = ecl.energy(chip, [x], num_steps=chip.latency, progress=False)
    assert cost.total("negative") == 0
    assert cost.total("acs") > 0
    with pytest.raises(ConfigError, match="made for runs of 6 steps; got num_steps=4"):
        chip(x, num_steps=4)
    with pytest.raises(ConfigError, match="its answer after 6 steps, not earlier"):
        chip.predict(x, max_steps=6)


# ---------------------------------------------------------------------------------- refused


def test_a_neuron_that_the_pulses_do_not_hold_is_an_error() -> None:
    snn = ecl.convert(nn.Sequential(ecl.ThresholdClip(4, 1.0), nn.Linear(3, 1)))
    chip = settle_then_fire(snn, [torch.rand(8, 3)], num_steps=4)
    with pytest.raises(StateError, match=r"^0: it fired outside steps 5 to 8: .* larger margin"):
        chip(torch.full((1, 3), 50.0))
    wide = settle_then_fire(snn, [torch.rand(8, 3)], num_steps=4, margin=200.0)
    assert wide(torch.full((1, 3), 50.0)).shape == (1, 1)


@over([net for net in ONE_INPUT if net.name in REFUSED])
def test_what_it_refuses_it_refuses_by_name(net: Net) -> None:
    snn = ecl.convert(net.prepared(T))
    before = snn.net.code
    with pytest.raises(UnsupportedError, match="what are no spikes"):
        settle_then_fire(snn, [net.inputs()[0]], num_steps=T)
    assert snn.net.code == before


def test_settings_out_of_range() -> None:
    snn = ecl.convert(nn.Sequential(ecl.ThresholdClip(4, 1.0), nn.Linear(3, 1)))
    x = torch.rand(8, 3)
    with pytest.raises(ConfigError, match="num_steps must be >= 1"):
        settle_then_fire(snn, [x], num_steps=0)
    with pytest.raises(ConfigError, match=r"margin must be a finite number >= 1; got 0\.5"):
        settle_then_fire(snn, [x], num_steps=4, margin=0.5)
    with pytest.raises(ConfigError, match=r"margin must be a finite number >= 1; got '2'"):
        settle_then_fire(snn, [x], num_steps=4, margin="2")
    moved = wired(lambda m, x: m.f(m.r(m.a(x)).transpose(1, 2)).mean(1), a=nn.Conv1d(2, 4, 1),
                  r=ecl.ThresholdClip(4, 1.0), f=nn.Linear(4, 2))  # fmt: skip
    with pytest.raises(
        InputError, match=r"f \(Linear\)[^!]*moved into its clock pulses[^!]*\[B, C\]"
    ):
        settle_then_fire(ecl.convert(moved), [torch.rand(3, 2, 5)], num_steps=4)
    with pytest.raises(ConfigError, match="is lowered already"):
        settle_then_fire(settle_then_fire(snn, [x], num_steps=4), [x], num_steps=4)
    with pytest.raises(DataError, match="the data is empty"):
        settle_then_fire(snn, [], num_steps=4)


def test_biases_of_linear_layers_go_to_two_dimensions_only() -> None:
    body = nn.Sequential(nn.Linear(3, 3), ecl.ThresholdClip(4, 1.0), nn.Linear(3, 3),
                         ecl.ThresholdClip(4, 1.0), nn.Linear(3, 2))  # fmt: skip
    chip = settle_then_fire(ecl.convert(body), [torch.rand(4, 3)], num_steps=2)
    with pytest.raises(InputError, match=r"for currents \[B, C\]; got shape \[.*3, 3\]"):
        chip.net(torch.rand(2, 3, 3), 8, 8)
