"""The equations of functional.py against the exact oracles."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from snntorch_ecl import functional as F
from tests.helpers import oracles

LEVELS = [1, 2, 3, 4, 7, 8, 10, 13, 16]


THRESHOLDS = [0.5, 0.75, 1.0, 3.0]


def grid(threshold: float, low: float = -1.5, high: float = 2.0) -> Tensor:
    """Exact multiples of θ/64, or of θ/96 where 3 divides θ: ties of every level are among them.

    θ/2 is a tie of any odd number of levels, also where θ/L itself is not representable.
    """
    parts = 96 if threshold in (0.75, 3.0) else 64
    return torch.arange(round(low * parts), round(high * parts) + 1) * (threshold / parts)


def expected_clip(x: Tensor, threshold: float, levels: int | None) -> Tensor:
    values = [float(oracles.clip(z, threshold, levels)) for z in x.flatten().tolist()]
    return torch.tensor(values).reshape(x.shape)


def oracle_spikes(
    currents: Tensor, threshold: float, lower: float = -1e-3, initial: float = 0.5
) -> Tensor:
    """[T, N] currents through N oracle neurons."""
    columns = [
        oracles.DualThresholdNeuron(threshold, lower, initial).run(column)
        for column in currents.T.tolist()
    ]
    return torch.tensor(columns, dtype=currents.dtype).T


def dyadic(*shape: int, seed: int = 0, low: int = -24, high: int = 25) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, shape, generator=generator) / 16


# ------------------------------------------------------------------------------ activation


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("levels", [*LEVELS, None])
def test_clip_equals_the_oracle_ties_included(threshold: float, levels: int | None) -> None:
    x = grid(threshold)
    # The levels of 3, 7, … are not dyadic; a wrong level would be off by 1/16 at least.
    torch.testing.assert_close(
        F.threshold_clip(x, threshold, levels),
        expected_clip(x, threshold, levels),
        rtol=1e-6,
        atol=0,
    )


@pytest.mark.parametrize("levels", [1, 2, 4, 8])
def test_clip_is_exact_on_dyadic_levels(levels: int) -> None:
    x = grid(1.0)
    assert torch.equal(F.threshold_clip(x, 1.0, levels), expected_clip(x, 1.0, levels))


@pytest.mark.parametrize(("x", "h"), [(0.125, 0.25), (0.375, 0.5), (0.625, 0.75), (0.875, 1.0)])
def test_clip_rounds_ties_up(x: float, h: float) -> None:
    assert F.threshold_clip(torch.tensor(x), 1.0, 4) == h


@pytest.mark.parametrize("levels", [3, 4, None])
def test_clip_per_channel_equals_the_channels_one_by_one(levels: int | None) -> None:
    thresholds = [0.75, 1.5, 3.0]
    x = grid(3.0).repeat(2, 3, 1)
    got = F.threshold_clip(x, torch.tensor(thresholds).view(3, 1), levels)
    expected = [expected_clip(x[:, c], theta, levels) for c, theta in enumerate(thresholds)]
    torch.testing.assert_close(got, torch.stack(expected, 1), rtol=1e-6, atol=0)


def test_clip_has_four_levels_by_default() -> None:
    assert F.threshold_clip(torch.tensor(0.4), 1.0) == 0.5


@pytest.mark.parametrize("levels", [4, None])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_clip_keeps_the_dtype_of_its_input(dtype: torch.dtype, levels: int | None) -> None:
    x = grid(1.0).to(dtype)
    got = F.threshold_clip(x, torch.tensor(1.0), levels)
    assert got.dtype == dtype
    assert torch.equal(got.float(), expected_clip(x, 1.0, levels))


def test_clip_leaves_its_input_alone() -> None:
    x = grid(1.0)
    before = x.clone()
    F.threshold_clip(x, 1.0, 4)
    assert torch.equal(x, before)


def test_positive_reflects_and_never_reaches_zero() -> None:
    raw = torch.tensor([2.0, -0.5, 0.0, -0.0, 1e-9])
    expected = torch.tensor([2.0, 0.5, 1e-6, 1e-6, 1e-6])
    assert torch.allclose(F.positive(raw), expected, rtol=1e-6, atol=0)


def test_positive_has_a_gradient_everywhere() -> None:
    raw = torch.tensor([2.0, -0.5, 0.0, 1e-9, -1e-9], requires_grad=True)
    F.positive(raw).sum().backward()
    assert raw.grad.tolist() == [1.0, -1.0, 1.0, 1.0, -1.0]


# ---------------------------------------------------------------------------------- neuron


TRACES = {
    # θ = 1, v(0) = 1/2: v after the charge, by hand, in the comments
    "fires on reaching θ exactly": ([0.5], [1]),  # 1.0
    "stays silent below θ": ([0.4375], [0]),  # 0.9375
    "takes a spike back": ([0.75, -0.75], [1, -1]),  # 1.25, −0.5
    "keeps its spike at v = 0": ([0.5, -0.0], [1, 0]),  # 1.0, 0
    "has nothing to take back": ([-2.0, -2.0], [0, 0]),  # −1.5, −3.5
    "takes back no more than it gave": ([0.5, -1.0, -1.0], [1, -1, 0]),  # 1.0, −1, −1
    "gives θ back": ([0.5, -1.0, 1.0], [1, -1, 1]),  # 1.0, −1 → 0, 1.0
    "fires once a step": ([3.0, 0.0, 0.0], [1, 1, 1]),  # 3.5, 2.5, 1.5
}


@pytest.mark.parametrize(("currents", "spikes"), TRACES.values(), ids=TRACES)
def test_hand_computed_trace(currents: list[float], spikes: list[int]) -> None:
    assert oracles.DualThresholdNeuron(1.0).run(currents) == spikes
    got, _ = F.scan(torch.tensor(currents).unsqueeze(1), 1.0)
    assert got.flatten().tolist() == spikes


@pytest.mark.parametrize(("second", "spike"), [(-0.25, 0), (-0.5, -1), (-0.4375, 0)])
def test_negative_threshold_is_absolute_and_inclusive(second: float, spike: int) -> None:
    """θ = 4, θ′ = −1/2: after one spike v = 0, then v = second."""
    got, _ = F.scan(torch.tensor([[2.0], [second]]), 4.0, negative_threshold=-0.5)
    assert got.flatten().tolist() == [1, spike]


gradient_modes = pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])


@gradient_modes
@pytest.mark.parametrize("initial", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("lower", [-1e-3, -0.25, -1.0, 0.0])
@pytest.mark.parametrize("threshold", [0.75, 2.0])
def test_scan_equals_the_oracle(threshold: float, lower: float, initial: float, grad: bool) -> None:
    currents = dyadic(12, 50)
    with torch.set_grad_enabled(grad):
        got, _ = F.scan(currents, threshold, negative_threshold=lower, initial_membrane=initial)
    assert torch.equal(got, oracle_spikes(currents, threshold, lower, initial))


@pytest.mark.parametrize("initial", [0.0, 0.5, 1.0])
def test_minus_infinity_is_the_integrate_and_fire_neuron(initial: float) -> None:
    currents = dyadic(12, 50)
    got, _ = F.scan(currents, 1.0, negative_threshold=-math.inf, initial_membrane=initial)
    columns = [oracles.integrate_and_fire(c, 1.0, initial) for c in currents.T.tolist()]
    assert torch.equal(got, torch.tensor(columns, dtype=torch.float32).T)
    assert not torch.equal(got, F.scan(currents, 1.0, initial_membrane=initial)[0])


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("levels", LEVELS)
def test_constant_input_gives_the_activation_ties_included(levels: int, threshold: float) -> None:
    """T = L, v(0) = θ/2: θ·mean(s) = h(z)."""
    z = grid(threshold)
    spikes, _ = F.scan(z.expand(levels, -1), threshold)
    rate, h = threshold * spikes.sum(0) / levels, F.threshold_clip(z, threshold, levels)
    torch.testing.assert_close(rate, h, rtol=1e-6, atol=0)


def test_step_defaults_are_the_papers() -> None:
    """θ′ = −1e-3 and v(0) = θ/2."""
    currents = torch.tensor([[0.5, 0.5], [-5e-4, -2e-3]])
    spk, state = F.dual_threshold_step(currents[0], F.fresh_state(currents[0]), 1.0)
    assert spk.tolist() == [1, 1]
    assert F.dual_threshold_step(currents[1], state, 1.0)[0].tolist() == [0, -1]
    assert F.scan(currents, 1.0)[0][1].tolist() == [0, -1]


def test_threshold_tensor_broadcasts_over_the_batch() -> None:
    currents, thetas = dyadic(6, 4, 3), [0.5, 1.0, 2.0]
    got, _ = F.scan(currents, torch.tensor(thetas))
    for channel, theta in enumerate(thetas):
        assert torch.equal(got[..., channel], F.scan(currents[..., channel], theta)[0])


def loop(currents: Tensor, state: F.State, threshold: float) -> tuple[Tensor, F.State]:
    spikes = []
    for current in currents:
        spk, state = F.dual_threshold_step(current, state, threshold)
        spikes.append(spk)
    return torch.stack(spikes), state


@gradient_modes
@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("threshold", [1.0, 0.3])
def test_scan_is_the_loop_of_steps_bit_for_bit(threshold: float, held: bool, grad: bool) -> None:
    currents = torch.randn(10, 64, generator=torch.Generator().manual_seed(1))
    if held:
        currents = currents[0].expand(10, 64)
    with torch.set_grad_enabled(grad):
        spikes, state = F.scan(currents, threshold)
    looped, end = loop(currents, F.fresh_state(currents[0]), threshold)
    assert torch.equal(spikes, looped)
    assert torch.equal(state.mem, end.mem)
    assert torch.equal(state.spike_count, end.spike_count)


@gradient_modes
@pytest.mark.parametrize("split", [1, 4, 9])
def test_state_carries_a_sequence_across_chunks(split: int, grad: bool) -> None:
    currents = torch.randn(10, 64, generator=torch.Generator().manual_seed(2))
    whole, end = F.scan(currents, 0.3)
    with torch.set_grad_enabled(grad):
        first, state = F.scan(currents[:split], 0.3)
        second, state = F.scan(currents[split:], 0.3, state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(state.mem, end.mem)
    assert torch.equal(state.spike_count, end.spike_count)


@gradient_modes
def test_scan_leaves_its_input_and_the_given_state_alone(grad: bool) -> None:
    currents = dyadic(4, 8)
    _, state = F.scan(currents, 1.0)
    mem, count = state.mem.clone(), state.spike_count.clone()
    with torch.set_grad_enabled(grad):
        F.scan(currents, 1.0, state)
    assert torch.equal(currents, dyadic(4, 8))
    assert torch.equal(state.mem, mem)
    assert torch.equal(state.spike_count, count)


@gradient_modes
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_spikes_are_typed_like_the_current_and_counts_are_integers(
    dtype: torch.dtype, grad: bool
) -> None:
    currents = dyadic(5, 8).to(dtype)
    with torch.set_grad_enabled(grad):
        spikes, state = F.scan(currents, torch.tensor(1.0))
    wide = torch.float64 if dtype == torch.float64 else torch.float32  # membranes are sums
    assert (spikes.dtype, state.mem.dtype, state.spike_count.dtype) == (dtype, wide, torch.int32)
    assert torch.equal(state.spike_count, spikes.sum(0).int())
    assert torch.equal(spikes.float(), oracle_spikes(currents.float(), 1.0))


def test_spikes_carry_no_gradient_without_a_surrogate() -> None:
    spikes, state = F.scan(dyadic(3, 4).requires_grad_(), 1.0)
    assert not spikes.requires_grad
    assert state.mem.requires_grad


@pytest.mark.parametrize(("steps", "gain"), [(2, 0.03), (4, 0.08), (8, 0.12)])
def test_dual_threshold_gets_more_counts_right_on_noisy_input(steps: int, gain: float) -> None:
    """Noise of 0.8 θ that sums to zero: the right count is that of the constant input.

    A second threshold at −θ instead of at zero leaves a dead band, and lies in between.
    """
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(20_000, generator=generator) * 1.5 - 0.5
    noise = 0.8 * torch.randn(steps, 20_000, generator=generator)
    currents = z + noise - noise.mean(0)
    right = F.threshold_clip(z, 1.0, steps) * steps

    def share_right(lower: float) -> float:
        counts = F.scan(currents, 1.0, negative_threshold=lower)[0].sum(0)
        return (counts == right.round()).float().mean().item()

    dual, dead_band, plain = share_right(-1e-3), share_right(-1.0), share_right(-math.inf)
    assert dual > plain + gain
    assert dual > dead_band + gain / 4
    assert dead_band >= plain
