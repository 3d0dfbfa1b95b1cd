"""Who is the main process, whose share is what; with real processes in the tests of runs."""

import itertools
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

from snntorch_ecl._util.processes import (
    Place,
    is_main,
    joined,
    largest,
    main_first,
    place_here,
    share,
    summed,
    world_size,
)
from snntorch_ecl.errors import ConfigError

from ..helpers.runs import python


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
    assert largest(torch.tensor([1, 2])).tolist() == [1, 2]
    assert (place_here(), world_size()) == (Place(0, 1), 1)


def test_processes_that_cannot_meet_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with (
        pytest.raises(ConfigError, match=r"one of 2 processes .* built without torch\.distributed"),
        joined(),
    ):
        pass


@pytest.mark.slow
def test_a_torch_that_is_built_without_distributed_does_all_the_rest(tmp_path: Path) -> None:
    """Its module is there, and says that it is not available; hardly a name is in it."""
    done = python(
        """
        import sys

        class BuiltWithout:
            def find_spec(self, name, path=None, target=None):
                if name == "torch.distributed":  # what torch looks for, in its own compiled part
                    for method in ("_c10d_init", "_rpc_init", "_dist_autograd_init"):
                        delattr(sys.modules["torch._C"], method)

        sys.meta_path.insert(0, BuiltWithout())
        import torch
        from torch import nn
        import snntorch_ecl as ecl
        from snntorch_ecl import experiments, training
        from snntorch_ecl._util.processes import joined, main_first, world_size

        assert not torch.distributed.is_available()
        assert not hasattr(torch.distributed, "ReduceOp")
        with joined() as place, main_first(place):
            assert (place, world_size()) == ((0, 1), 1)
        ann = ecl.prepare(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))).train()
        images, labels = torch.rand(6, 4), torch.arange(6) % 3
        nn.functional.cross_entropy(ann(images), labels).backward()
        snn = ecl.convert(ann.eval())
        data = [(images, labels)]
        found = ecl.evaluate(snn, data, num_steps=2, ann=ann, distributed=True, progress=False)
        print(found.samples)
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["6"]
