"""The compiled time loop is compiled once for as much as possible, and never given up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch._dynamo.utils import counters

from tests.functional.test_fused import assert_equal_scans, currents
from tests.helpers.compilers import only_traced

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own


@pytest.fixture(autouse=True)
def _no_machine_code() -> Iterator[None]:
    with only_traced():
        yield


def test_neurons_of_any_settings_share_a_compilation() -> None:
    counts = []
    for negative_threshold in (-0.1, -0.2, -0.3, -0.4):
        assert_equal_scans(currents(2, 9, 7), 0.8, negative_threshold=negative_threshold)
        counts.append(counters["stats"]["unique_graphs"])
    assert len(set(counts)) == 1


FEW, MORE = ((5, 3), (3, 4, 5, 5)), ((1, 7), (1, 4, 5, 5))


@pytest.mark.parametrize("shapes", [FEW, pytest.param(FEW + MORE, marks=pytest.mark.slow)])
def test_networks_of_many_shapes_stay_compiled(shapes: tuple[tuple[int, ...], ...]) -> None:
    """Beyond its limit of 8 kinds the compiler gives up, and says so in its log alone."""
    counters.clear()
    for shape in shapes:
        for num_steps in (1, 2):
            assert_equal_scans(currents(num_steps, *shape), 0.8)
            assert_equal_scans(currents(*shape).expand(num_steps, *shape), 0.8)
            assert_equal_scans(
                currents(num_steps, *shape), torch.full(shape[1:2] + (1,) * (len(shape) - 2), 0.7)
            )
    assert counters["stats"]["unique_graphs"] > 8
    assert not counters["unimplemented"]
