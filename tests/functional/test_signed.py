"""Signed clips and the neurons that equal them, against scalar exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snntorch_ecl import DualThreshold, ThresholdClip
from snntorch_ecl import functional as F
from snntorch_ecl.errors import ConfigError
from snntorch_ecl.functional import _fused
from tests.helpers.oracles import DualThresholdNeuron, signed_clip

SIGNED = {"negative_threshold": 0.0, "count_bounds": (None, None)}
sixteenths = st.integers(-64, 64).map(lambda n: n / 16)
LEVELS = (1, 2, 3, 4, 7, 8)


def column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(st.lists(sixteenths, min_size=1, max_size=8), st.sampled_from((0.5, 1.0, 3.0)))
@settings(max_examples=60, deadline=None)
def test_the_clip_is_the_definition(values: list[float], threshold: float) -> None:
    for levels in (*LEVELS, None):
        got = F.threshold_clip(column(values), threshold, levels, signed=True)
        wanted = [float(signed_clip(v, threshold, levels)) for v in values]
        assert got.tolist() == pytest.approx(wanted, abs=1e-12)


@given(st.integers(1, 8), st.integers(-80, 80), st.sampled_from((0.5, 1.0, 3.0)))
@settings(max_examples=150, deadline=None)
def test_constant_input_for_l_steps_gives_the_clip_exactly(
    levels: int, halves: int, threshold: float
) -> None:
    """Inputs at multiples of θ/8: with L dividing 4 these are levels and ties."""
    current = halves * threshold / 8
    spikes, _ = F.scan(column([current]).expand(levels, 1), threshold, **SIGNED)
    assert Fraction(int(spikes.sum()), levels) * Fraction(threshold) == signed_clip(
        current, threshold, levels
    )


@given(st.lists(sixteenths, min_size=1, max_size=12), st.sampled_from((0.5, 2.0)))
@settings(max_examples=60, deadline=None)
def test_every_count_on_the_way_is_the_floor_of_what_came_in(
    currents: list[float], threshold: float
) -> None:
    """Also for uneven input, as long as no current is larger than θ."""
    bounded = [max(-threshold, min(threshold, current)) for current in currents]
    spikes, state = F.scan(column(bounded).unsqueeze(1), threshold, **SIGNED)
    total, reached = Fraction(0), 0
    for current, spike in zip(bounded, spikes.flatten().tolist(), strict=True):
        total, reached = total + Fraction(current), reached + int(spike)
        assert reached == math.floor(total / Fraction(threshold) + Fraction(1, 2))
    left = total - Fraction(threshold) * reached
    assert state.mem.item() == float(left)


@pytest.mark.parametrize("bounds", [(0, None), (None, None), (0, 2), (-2, 2), (-1, 3), (None, 1)])
@pytest.mark.parametrize("lower", [0.0, -1e-3, -0.5])
@pytest.mark.parametrize("grad", [False, True])
def test_bounds_are_those_of_the_oracle(
    bounds: tuple[int | None, int | None], lower: float, grad: bool
) -> None:
    currents = (torch.randn(12, 40) * 8).round() / 8
    with torch.set_grad_enabled(grad):
        got, state = F.scan(currents, 0.75, negative_threshold=lower, count_bounds=bounds)
    least, most = (-math.inf if bounds[0] is None else bounds[0]), bounds[1] or math.inf
    for row, spikes in zip(currents.T, got.T, strict=True):
        neuron = DualThresholdNeuron(0.75, lower, least=least, most=most)
        assert spikes.tolist() == neuron.run(row.tolist())
    assert torch.equal(state.spike_count, got.sum(0).int())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
@pytest.mark.parametrize(
    ("bounds", "sizes"), [pytest.param((None, None), 1, marks=pytest.mark.slow), ((-2, 2), 2)]
)
def test_the_compiled_loop_spikes_equally(
    bounds: tuple[int | None, int | None], sizes: int
) -> None:
    currents, neuron = torch.randn(3, 33), {"negative_threshold": 0.0, "spike_sizes": sizes}
    with torch.no_grad():
        plain, state = F.scan(currents, 0.7, count_bounds=bounds, **neuron)
        fused = _fused.scan(currents, torch.tensor(0.7), count_bounds=bounds, **neuron)
    assert fused.mem_sum is not None  # it was compiled
    assert torch.equal(fused.spikes, plain)
    assert torch.equal(fused.state.spike_count, state.spike_count)


@pytest.mark.parametrize("sizes", [2, 3])
def test_spikes_of_several_sizes_come_within_a_quarter_of_a_step(sizes: int) -> None:
    """As without a sign: |θ·mean − I| ≤ θ/4T for constant currents from −θ to θ."""
    for steps in (1, 2, 3, 5):
        currents = torch.linspace(-1, 1, 257, dtype=torch.float64)
        spikes, _ = F.scan(currents.expand(steps, -1), 1.0, spike_sizes=sizes, **SIGNED)
        assert float((spikes.mean(0) - currents).abs().max()) <= 1 / (4 * steps) + 1e-12


@pytest.mark.parametrize("levels", [None, 2, 5])
def test_gradients_are_those_of_the_definition(levels: int | None) -> None:
    values, weights = [-2.0, -0.8, -0.35, 0.1, 0.44, 0.8, 1.7], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    x, threshold = column(values).requires_grad_(), column([0.8]).requires_grad_()
    (F.threshold_clip(x, threshold, levels, signed=True) * column(weights)).sum().backward()
    inside = [abs(v) < 0.8 for v in values]
    assert x.grad is not None
    assert threshold.grad is not None
    assert x.grad.tolist() == [w * i for w, i in zip(weights, inside, strict=True)]
    shares = [float(signed_clip(v, 0.8, levels)) / 0.8 for v in values]
    terms = zip(weights, shares, values, inside, strict=True)
    assert threshold.grad.item() == pytest.approx(
        sum(w * (h - i * v / 0.8) for w, h, v, i in terms)
    )


def test_surrogate_gradients_pass_through_both_edges_from_the_first_step_on() -> None:
    current = torch.tensor([-0.4, 0.4]).requires_grad_()
    spikes, _ = F.dual_threshold_step(
        current, F.fresh_state(current), 1.0, spike_grad=torch.sigmoid, **SIGNED
    )
    spikes.sum().backward()
    assert current.grad is not None
    # sigmoid has the slope σ(1 − σ), at both edges: v − θ and −v, with v = 0.1 and 0.9.
    slope = [sum(math.exp(-u) / (1 + math.exp(-u)) ** 2 for u in (v - 1, -v)) for v in (0.1, 0.9)]
    assert current.grad.tolist() == pytest.approx(slope)


def test_the_layers_law() -> None:
    clip = ThresholdClip(4, 1.5, signed=True)
    neuron = DualThreshold(1.5, graded_spikes_factor=1.5, signed=True, init_hidden=True)
    x = torch.linspace(-3, 3, 97)  # multiples of 1/16: ties are at odd multiples of 3/16
    spikes = neuron(x, num_steps=4, held=4)
    assert torch.equal(spikes.view(4, -1).mean(0), clip(x))
    assert int(neuron.spike_count.min()) == -4
    assert "signed=True" in repr(neuron)
    assert "signed=True" in repr(clip)


def test_an_unset_clip_passes_signed_values_and_starts_from_their_size() -> None:
    x = torch.tensor([-3.0, 0.5, 1.0])
    clip = ThresholdClip(4, signed=True)
    assert torch.equal(clip.eval()(x), x)
    clip.train()(x)
    assert clip.threshold.item() == 3.0


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="a signed neuron fires −1 at v < 0"):
        DualThreshold(signed=True, negative_threshold=-0.5)
    with pytest.raises(ConfigError, match="a signed neuron fires −1 at v < 0"):
        DualThreshold(signed=True, negative_threshold=-math.inf)
    with pytest.raises(ConfigError, match="a signed clip has no ceiling"):
        ThresholdClip(4, signed=True, ceiling=6.0)
    for bounds in ((1, None), (None, 0), (0,), (True, None), (0.5, 2), None):
        with pytest.raises(ConfigError, match="count_bounds"):
            F.scan(torch.ones(1, 2), 1.0, count_bounds=bounds)  # type: ignore[arg-type]
