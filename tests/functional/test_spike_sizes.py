"""Spikes of several sizes against a scalar neuron that looks for the nearest size."""

from __future__ import annotations

import math

import pytest
import torch
from snntorch import surrogate
from torch import Tensor

from snntorch_ecl import functional as F
from snntorch_ecl.errors import ConfigError
from snntorch_ecl.functional import _fused as fused
from tests.helpers import oracles

SETTINGS = [(-1e-3, 0.5), (-0.25, 0.5), (-math.inf, 0.5), (-1e-3, 0.25), (-1e-3, 0.0)]
several = pytest.mark.parametrize("sizes", [1, 2, 3, 4, 8])


def currents(*shape: int) -> Tensor:
    """Large and small multiples of 1/1024: sums are exact, ties and all sizes happen."""
    generator = torch.Generator().manual_seed(0)
    found = torch.randint(-90, 110, shape, generator=generator) / 64
    found[..., ::2] /= 16
    return found


@several
@pytest.mark.parametrize(("lower", "initial"), SETTINGS)
@pytest.mark.parametrize("threshold", [0.5, 1.0, 1.5])
def test_spikes_are_those_of_the_nearest_size(
    sizes: int, threshold: float, lower: float, initial: float
) -> None:
    current = currents(7, 60)
    columns = [
        oracles.SizedNeuron(threshold, sizes, lower, initial).run(column)
        for column in current.T.tolist()
    ]
    expected = torch.tensor(columns).T
    settings = {"negative_threshold": lower, "initial_membrane": initial, "spike_sizes": sizes}
    spikes, state = F.scan(current, threshold, **settings)  # type: ignore[arg-type]
    assert torch.equal(spikes, expected)
    if sizes < 8:  # all occur
        assert len(expected.unique()) == sizes * (1 if lower == -math.inf else 2) + 1
    assert torch.equal(state.spike_count, (expected.sum(0) * 2 ** (sizes - 1)).int())


def test_one_size_of_the_oracle_is_the_papers_neuron() -> None:
    for column in currents(40, 20).T.tolist():
        plain = oracles.DualThresholdNeuron(0.75).run(column)
        assert oracles.SizedNeuron(0.75, 1).run(column) == plain


@pytest.mark.parametrize("sizes", [2, 4])
def test_what_the_equations_promise(sizes: int) -> None:
    current = currents(9, 500)
    spikes, state = F.scan(current, 1.5, spike_sizes=sizes)
    assert torch.equal(state.mem, current.sum(0) - 1.5 * spikes.sum(0))  # nothing is lost
    assert bool((spikes.cumsum(0) >= 0).all())
    assert bool((spikes < -0.5).any())  # large spikes are taken back too


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_two_sizes_double_the_levels_of_a_constant_input(num_steps: int) -> None:
    z = torch.arange(-64, 160) / 64
    spikes, _ = F.scan(z.expand(num_steps, -1), 1.0, spike_sizes=2)
    expected = [float(oracles.clip(x, 1, 2 * num_steps)) for x in z.tolist()]
    torch.testing.assert_close(spikes.mean(0), torch.tensor(expected), rtol=1e-6, atol=0)


@pytest.mark.parametrize("sizes", [2, 3, 4, 8])
@pytest.mark.parametrize("num_steps", [1, 2, 4, 8])
def test_a_constant_input_is_met_twice_as_closely(sizes: int, num_steps: int) -> None:
    """Within θ/4T, where spikes of one size have θ/2T."""
    z = torch.arange(0, 257) / 256
    errors = F.scan(z.expand(num_steps, -1), 1.0, spike_sizes=sizes)[0].mean(0) - z
    assert float(errors.abs().max()) <= 0.25 / num_steps


@pytest.mark.parametrize("sizes", [2, 4])
def test_step_by_step_they_are_equal(sizes: int) -> None:
    current, state = currents(11, 4, 6, 5), None
    whole, end = F.scan(current, 0.75, spike_sizes=sizes)
    for step, spikes in zip(current, whole, strict=True):
        state = F.fresh_state(step) if state is None else state
        got, state = F.dual_threshold_step(step, state, 0.75, spike_sizes=sizes)
        assert torch.equal(got, spikes)
    assert state is not None
    assert torch.equal(state.mem, end.mem)


def test_compiled_they_are_equal() -> None:
    current, theta = currents(2, 4, 6, 5), torch.linspace(0.25, 1.0, 6).view(6, 1)
    with torch.no_grad():
        whole, end = F.scan(current, theta, spike_sizes=3)
        compiled = fused.scan(current, theta, spike_sizes=3)
    assert bool((whole < -0.25).any())
    assert torch.equal(compiled.spikes, whole)
    assert torch.equal(compiled.state.mem, end.mem)
    assert torch.equal(compiled.state.spike_count, end.spike_count)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_precision_sizes_are_exact(dtype: torch.dtype) -> None:
    current = currents(6, 200).to(dtype)
    spikes, _ = F.scan(current, 1.0, spike_sizes=8)
    assert spikes.dtype == dtype
    assert torch.equal(spikes.float(), F.scan(current.float(), 1.0, spike_sizes=8)[0])


@pytest.mark.parametrize("sizes", [2, 3])
@pytest.mark.parametrize("lower", [-1e-3, -math.inf])
def test_gradients_are_those_of_every_comparison(sizes: int, lower: float) -> None:
    """The slope at each size's edge, in units of what it adds, weighted by that; reset detached."""
    given, theta = [0.9, -0.7, 0.3, -0.4], 0.75
    current = torch.tensor(given, dtype=torch.float64).unsqueeze(1).requires_grad_()
    settings = {"negative_threshold": lower, "spike_sizes": sizes}
    spikes, _ = F.scan(current, theta, spike_grad=surrogate.atan(), **settings)  # type: ignore[arg-type]
    weights = torch.tensor([0.5, 2.0, 1.0, -1.5], dtype=torch.float64)
    (spikes.squeeze(1) * weights).sum().backward()
    expected = oracles.sized_gradients(given, weights.tolist(), theta, sizes, lower)
    assert current.grad is not None
    assert current.grad.flatten().tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("value", [0, 9, True, 2.0, "4", None])
def test_a_number_of_sizes_that_cannot_be_is_named(value: object) -> None:
    with pytest.raises(ConfigError, match=f"spike_sizes must be an integer from 1.*{value!r}"):
        F.scan(torch.ones(1, 2), 1.0, spike_sizes=value)  # type: ignore[arg-type]
