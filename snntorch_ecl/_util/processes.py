"""Several processes that share one run (``torchrun``, Lightning's DDP): roles, shares and sums.

The only module that uses ``torch.distributed``: a torch that is built for one process has it, but
with hardly a name in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, distributed
from torch.utils.data import Dataset, Subset

from ..errors import ConfigError

T = TypeVar("T")


class Place(NamedTuple):
    """Which of how many processes this one is."""

    rank: int
    world_size: int


def is_main(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this process is the one that writes files and talks to the user.

    Works before the processes have met, by the variables of torchrun, Slurm or Lightning's
    launcher, so that only one of them makes the folder of a run.

    Example:
        >>> is_main({}), is_main({"RANK": "2", "LOCAL_RANK": "0"}), is_main({"LOCAL_RANK": "1"})
        (True, False, False)
    """
    variables = os.environ if environment is None else environment
    for name in ("RANK", "SLURM_PROCID"):
        if name in variables:
            return variables[name] == "0"
    return all(variables.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK"))


def have_met() -> bool:
    """Whether this process belongs to a group; never where torch was built for one alone."""
    return distributed.is_available() and distributed.is_initialized()


def place_here() -> Place:
    """This process' place; ``(0, 1)`` where it is alone."""
    return Place(distributed.get_rank(), world_size()) if have_met() else Place(0, 1)


def world_size() -> int:
    """How many processes share this run."""
    return distributed.get_world_size() if have_met() else 1


@contextmanager
def joined() -> Iterator[Place]:
    """Meet the processes that ``torchrun`` started, unless they have met; yields one's place."""
    started = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ
    if not started or have_met():
        yield place_here()
        return
    if not distributed.is_available():
        raise ConfigError(
            f"this is one of {os.environ['WORLD_SIZE']} processes (WORLD_SIZE), but this torch was "
            "built without torch.distributed; start one process, or install a torch that has it"
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield place_here()
    finally:
        distributed.destroy_process_group()


@contextmanager
def main_first(place: Place) -> Iterator[None]:
    """Let the first process do something before the others, such as download data."""
    if place.rank > 0:
        distributed.barrier()
    yield
    if place.rank == 0 and place.world_size > 1:
        distributed.barrier()


def share(data: Dataset[T], place: Place) -> Dataset[T]:
    """This process' part of the data: every sample is in exactly one.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> data = TensorDataset(torch.arange(5))
        >>> [int(x) for x, in share(data, Place(1, 2))]
        [1, 3]
    """
    if place.world_size == 1:
        return data
    return Subset(data, range(place.rank, len(data), place.world_size))  # type: ignore[arg-type]


def summed(values: Tensor) -> Tensor:
    """The sums over all processes, element by element; the values themselves for a single one."""
    return _reduced(values, "SUM")


def largest(values: Tensor) -> Tensor:
    """The largest over all processes, element by element; otherwise as :func:`summed`."""
    return _reduced(values, "MAX")


def _reduced(values: Tensor, operation: str) -> Tensor:
    """One number for each element, from those of all processes."""
    if not have_met():
        return values
    # NCCL works on its own device only.
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    total = values.to(device, copy=True)
    distributed.all_reduce(total, getattr(distributed.ReduceOp, operation))
    return total.to(values.device)
