"""The laws of the neuron and the activation, for any input on a dyadic grid (exact in float32)."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from snntorch_ecl import functional as F
from tests.helpers import oracles

law = settings(max_examples=60, deadline=None, derandomize=True, database=None)

sixteenths = st.integers(-64, 64).map(lambda k: k / 16)
currents = st.lists(sixteenths, min_size=1, max_size=12)
thresholds = st.integers(1, 16).map(lambda k: k / 4)
lowers = st.sampled_from([-1e-3, -0.5, 0.0, -math.inf])
starts = st.sampled_from([0.0, 0.25, 0.5, 1.0])
levels = st.integers(1, 17)


def scan(sequence: list[float], theta: float, **settings_: float) -> tuple[list[float], F.State]:
    spikes, state = F.scan(torch.tensor(sequence).unsqueeze(1), theta, **settings_)
    return spikes.flatten().tolist(), state


@law
@given(currents, thresholds, lowers, starts)
def test_spikes_membrane_and_count_equal_the_oracle(sequence, theta, lower, start) -> None:
    neuron = oracles.DualThresholdNeuron(theta, lower, start)
    expected = neuron.run(sequence)
    spikes, state = scan(sequence, theta, negative_threshold=lower, initial_membrane=start)
    assert spikes == expected
    assert Fraction(state.mem.item()) + Fraction(start) * Fraction(theta) == neuron.v
    assert state.spike_count.item() == neuron.n


@law
@given(currents, thresholds, lowers, starts)
def test_charge_is_conserved(sequence, theta, lower, start) -> None:
    """v(T) − v(0) = ΣI − θΣs."""
    spikes, state = scan(sequence, theta, negative_threshold=lower, initial_membrane=start)
    assert state.mem.item() == sum(sequence) - theta * sum(spikes)


@law
@given(currents, thresholds, lowers, starts)
def test_net_count_is_never_negative(sequence, theta, lower, start) -> None:
    state = F.fresh_state(torch.zeros(1))
    total = 0.0
    for current in sequence:
        spk, state = F.dual_threshold_step(
            torch.tensor([current]),
            state,
            theta,
            negative_threshold=lower,
            initial_membrane=start,
        )
        total += spk.item()
        assert state.spike_count.item() == total >= 0


@law
@given(sixteenths, thresholds, starts)
def test_one_step_of_dual_threshold_is_integrate_and_fire(current, theta, start) -> None:
    spikes, _ = scan([current], theta, initial_membrane=start)
    assert spikes == oracles.integrate_and_fire([current], theta, start)


@law
@given(currents, thresholds, starts)
def test_minus_infinity_is_integrate_and_fire(sequence, theta, start) -> None:
    spikes, _ = scan(sequence, theta, negative_threshold=-math.inf, initial_membrane=start)
    assert spikes == oracles.integrate_and_fire(sequence, theta, start)


@law
@given(sixteenths, thresholds, levels)
@example(0.5, 1.0, 7)  # a tie at 3.5 levels, although 1/7 is not representable
def test_constant_input_spikes_at_the_activations_level(current, theta, count) -> None:
    """T = L: θ·mean(s) = h(z), compared as whole numbers of levels."""
    spikes, _ = scan([current] * count, theta)
    h = F.threshold_clip(torch.tensor(current), theta, count).item()
    assert sum(spikes) == round(h * count / theta)
    assert Fraction(theta) * int(sum(spikes)) / count == oracles.clip(current, theta, count)


@law
@given(currents, thresholds, st.integers(0, 12))
def test_any_cut_of_a_sequence_gives_the_same_spikes(sequence, theta, cut) -> None:
    cut = min(max(cut, 1), len(sequence) - 1)
    if cut < 1:
        return
    whole, _ = scan(sequence, theta)
    head, state = scan(sequence[:cut], theta)
    tail, _ = scan(sequence[cut:], theta, state=state)
    assert head + tail == whole


@law
@given(currents, thresholds, st.one_of(levels, st.none()))
def test_clip_equals_the_oracle(values, theta, count) -> None:
    got = F.threshold_clip(torch.tensor(values), theta, count).tolist()
    for x, h in zip(values, got, strict=True):
        assert math.isclose(h, oracles.clip(x, theta, count), rel_tol=1e-6)


@law
@given(currents, thresholds, st.one_of(levels, st.none()))
def test_clip_is_monotone_and_applying_it_twice_changes_nothing(values, theta, count) -> None:
    h = F.threshold_clip(torch.tensor(values).sort().values, theta, count)
    assert bool((h.diff() >= 0).all())
    assert torch.equal(F.threshold_clip(h, theta, count), h)
