"""Counting activations: nothing is lost, order does not matter, thresholds are near the exact."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snntorch_ecl import functional as F
from snntorch_ecl.conversion._histogram import Histogram
from snntorch_ecl.conversion._response import response
from tests.helpers import oracles

values = st.lists(st.floats(0.0, 1e5, width=32), min_size=1, max_size=40)


def counted(*batches: Tensor) -> Histogram:
    histogram = Histogram(len(batches[0]))
    for batch in batches:
        histogram.add(batch)
    return histogram


@given(values)
def test_every_positive_value_is_counted_once(numbers: list[float]) -> None:
    row = torch.tensor([numbers], dtype=torch.float32)
    histogram = counted(row)
    assert int(histogram.counts.sum()) == int((row > 0).sum())
    assert histogram.maximum.item() == row.max().item()


@given(values, st.floats(0.01, 1.0))
def test_a_quantile_is_within_one_bin_of_the_exact_one(numbers: list[float], share: float) -> None:
    numbers = [number for number in numbers if number > 1e-5]
    if not numbers:
        return
    row = torch.tensor([numbers], dtype=torch.float32)
    exact = sorted(row[0].tolist())[math.ceil(len(numbers) * share) - 1]
    assert counted(row).quantile(share).item() == pytest.approx(exact, rel=0.01)


def test_the_order_of_batches_does_not_matter() -> None:
    batches = [torch.rand(3, n, generator=torch.Generator().manual_seed(n)) for n in (5, 90, 17)]
    forth, back = counted(*batches), counted(*reversed(batches))
    assert torch.equal(forth.counts, back.counts)
    assert torch.equal(forth.maximum, back.maximum)
    assert torch.equal(forth.least_error(4), back.least_error(4))
    whole = counted(torch.cat(batches, 1))
    assert torch.equal(forth.counts, whole.counts)


def test_rows_are_kept_apart() -> None:
    rows = torch.stack((torch.linspace(0.1, 1, 50), torch.linspace(10, 90, 50)))
    both = counted(rows)
    for index in range(2):
        alone = counted(rows[index : index + 1])
        assert torch.equal(both.counts[index], alone.counts[0])
        assert both.least_error(4)[index] == alone.least_error(4)[0]


def squared_error(row: Tensor, threshold: float, levels: int) -> float:
    """By the definition of the levels, value by value."""
    total = 0.0
    for x in row.tolist():
        level = min(max(math.floor(x * levels / threshold + 0.5), 0), levels)
        total += (x - level * threshold / levels) ** 2
    return total


@pytest.mark.parametrize("levels", [1, 2, 4, 16])
@pytest.mark.parametrize("shape", ["gauss", "heavy tail"])
def test_no_threshold_on_a_fine_grid_is_much_better(levels: int, shape: str) -> None:
    generator = torch.Generator().manual_seed(levels)
    row = torch.randn(400, generator=generator).relu()
    if shape == "heavy tail":
        row = row.exp() - 1
    found = counted(row.view(1, -1)).least_error(levels).item()
    grid = [float(row.max()) * share / 300 for share in range(3, 301)]
    best = min(squared_error(row, threshold, levels) for threshold in grid)
    assert squared_error(row, found, levels) <= 1.004 * best


def test_nothing_counted_gives_zero() -> None:
    histogram = counted(torch.zeros(2, 5))
    assert histogram.quantile(0.5).tolist() == [0, 0]
    assert histogram.least_error(4).tolist() == [0, 0]


def test_memory_does_not_grow_with_the_data() -> None:
    histogram = Histogram(2)
    size = histogram.counts.numel()
    for _ in range(3):
        histogram.add(torch.rand(2, 10_000))
    assert histogram.counts.numel() == size


def test_values_beyond_the_bins_are_counted_in_the_outermost() -> None:
    histogram = counted(torch.tensor([[1e-30, 1e30]]))
    assert (histogram.counts[0, 0], histogram.counts[0, -1]) == (1, 1)
    assert histogram.maximum.item() == pytest.approx(1e30)


@pytest.mark.parametrize(("steps", "sizes"), [(1, 4), (3, 3), (2, 2), (4, 1)])
def test_the_response_is_that_of_single_neurons(steps: int, sizes: int) -> None:
    found = response(steps, sizes)
    inputs = [z / 1000 + 1 / 3141 for z in range(1000)]  # off the edges
    for z in inputs:
        spikes = oracles.SizedNeuron(1, sizes).run([z] * steps)
        level = int(torch.searchsorted(found.edges, z))
        near = (found.edges - z).abs().min() < 1e-2 / (steps * 2**sizes)  # where it was not tried
        assert near or float(found.values[level]) == pytest.approx(sum(spikes) / steps, abs=1e-6)
    assert len(found.values) == len(found.edges) + 1


def test_thresholds_fit_the_levels_of_several_sizes() -> None:
    """Finer levels pay for a larger threshold, which cuts less off."""
    values = torch.randn(1, 20_000, generator=torch.Generator().manual_seed(0)).relu()
    counts = counted(values)

    def error(theta: float, sizes: int) -> float:
        mean, _ = F.scan(values[0].expand(2, -1), theta, spike_sizes=sizes)
        return float((theta * mean.mean(0) - values[0]).square().mean())

    chosen = {sizes: counts.least_error(2, sizes).item() for sizes in (1, 2, 4)}
    assert chosen[1] < chosen[2] < chosen[4]
    for sizes, theta in chosen.items():
        best = min(error(theta * (0.5 + part / 50), sizes) for part in range(75))
        assert error(theta, sizes) <= 1.02 * best
