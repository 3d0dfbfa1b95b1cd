"""Who is the main process, whose share is what; with real processes in the tests of runs."""

import itertools

import pytest
import torch
from torch.utils.data import TensorDataset

from snntorch_ecl._util.processes import Place, is_main, joined, main_first, share, summed


@pytest.mark.parametrize(
    ("environment", "main"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "3", "LOCAL_RANK": "0"}, False),  # torchrun, first process of another machine
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "1", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "1"}, False),  # Lightning's own launcher
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
    ],
)
def test_one_process_of_all_machines_is_the_main_one(
    environment: dict[str, str], main: bool
) -> None:
    assert is_main(environment) is main


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_every_sample_is_in_exactly_one_share(world: int) -> None:
    data = TensorDataset(torch.arange(5))
    shares = [[int(x) for (x,) in share(data, Place(rank, world))] for rank in range(world)]
    assert sorted(itertools.chain(*shares)) == list(range(5))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_process_alone_meets_nobody_and_keeps_its_sums() -> None:
    with joined() as place, main_first(place):
        assert place == (0, 1)
        assert not torch.distributed.is_initialized()
    assert summed(torch.tensor([1, 2])).tolist() == [1, 2]
