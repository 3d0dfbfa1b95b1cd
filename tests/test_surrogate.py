"""Surrogates that end: gradients counted by hand; the rectangle's is that of the clip."""

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError
from snntorch_ecl.surrogate import rectangular, triangular


@pytest.mark.parametrize(("width", "expected"), [(1.0, [0, 1, 1, 0]), (4.0, [0.25] * 4)])
def test_it_is_a_rectangle_of_area_one(width: float, expected: list[float]) -> None:
    x = torch.tensor([-0.75, -0.25, 0.25, 0.75], requires_grad=True)
    spikes = rectangular(width)(x)
    assert spikes.tolist() == [0, 0, 1, 1]
    spikes.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == expected


@pytest.mark.parametrize(
    ("width", "expected"), [(2.0, [0.25, 0.75, 1.0, 0.5, 0]), (1.0, [0, 1, 2, 0, 0])]
)
def test_it_is_a_triangle_of_area_one(width: float, expected: list[float]) -> None:
    x = torch.tensor([-0.75, -0.25, 0.0, 0.5, 1.5], requires_grad=True)
    spikes = triangular(width)(x)
    assert spikes.tolist() == [0, 0, 0, 1, 1]
    (3 * spikes).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3 * slope for slope in expected]


@given(st.floats(0.05, 20), st.lists(st.floats(-2, 3), min_size=1, max_size=20))
def test_one_step_has_the_gradient_of_the_clip(theta: float, ratios: list[float]) -> None:
    # Within a rounding of either end the two comparisons need not agree.
    ratios = [r for r in ratios if min(abs(r), abs(r - 1)) > 1e-4]
    current = (torch.tensor(ratios) * theta).requires_grad_()
    neuron = ecl.DualThreshold(
        theta, graded_spikes_factor=theta, spike_grad=rectangular(), init_hidden=True
    )
    neuron(current).sum().backward()
    same = current.detach().clone().requires_grad_()
    ecl.functional.threshold_clip(same, torch.tensor(theta), levels=1).sum().backward()
    assert current.grad is not None
    assert same.grad is not None
    torch.testing.assert_close(current.grad, same.grad)


@pytest.mark.parametrize(("shape", "slope"), [(rectangular, 1), (triangular, 0.75)])
def test_spikes_are_taken_back_with_a_gradient_too(shape, slope: float) -> None:
    neuron = ecl.DualThreshold(spike_grad=shape(), negative_threshold=-0.25)
    first = torch.tensor([0.75])
    spk, mem = neuron(first, neuron.reset_mem())
    second = torch.tensor([-0.75], requires_grad=True)  # v: 0.25 → −0.5, a quarter below θ′
    spk, _ = neuron(second, mem)
    assert spk.item() == -1
    spk.sum().backward()
    assert second.grad is not None
    assert second.grad.item() == slope


@pytest.mark.parametrize(("shape", "expected"), [(rectangular, [2, 0]), (triangular, [2, 0])])
def test_it_can_be_pickled_and_compiled(shape, expected: list[float]) -> None:
    spike_grad = pickle.loads(pickle.dumps(shape(0.5)))
    x = torch.tensor([0.125, 0.375], requires_grad=True)
    compiled = torch.compile(spike_grad, backend="aot_eager", fullgraph=True)
    compiled(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == expected


@pytest.mark.parametrize("width", [0, -1.0, float("nan"), float("inf"), "1", True])
@pytest.mark.parametrize("shape", [rectangular, triangular])
def test_other_widths_are_refused(shape, width: float) -> None:
    with pytest.raises(ConfigError, match="width must be"):
        shape(width)
