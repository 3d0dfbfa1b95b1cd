"""Several processes that share one run (``torchrun``, Lightning's DDP): roles, shares and sums."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, distributed
from torch.utils.data import Dataset, Subset

T = TypeVar("T")


class Place(NamedTuple):
    """Which of how many processes this one is."""

    rank: int
    world_size: int


def is_main(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this process is the one that writes files and talks to the user.

    Works before the processes have met, so that only one of them makes the folder of a run.

    Args:
        environment: Variables of torchrun, Slurm or Lightning's launcher; the process' own if None.

    Returns:
        True for the first process of the first machine, and where there is only one.

    Example:
        >>> is_main({}), is_main({"RANK": "2", "LOCAL_RANK": "0"}), is_main({"LOCAL_RANK": "1"})
        (True, False, False)
    """
    variables = os.environ if environment is None else environment
    for name in ("RANK", "SLURM_PROCID"):
        if name in variables:
            return variables[name] == "0"
    return all(variables.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK"))


@contextmanager
def joined() -> Iterator[Place]:
    """Meet the processes that ``torchrun`` started, unless they have met.

    Yields:
        This process' place; ``(0, 1)`` where it is alone.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ
    mine = several and not distributed.is_initialized()
    if mine:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        if distributed.is_initialized():
            yield Place(distributed.get_rank(), distributed.get_world_size())
        else:
            yield Place(0, 1)
    finally:
        if mine:
            distributed.destroy_process_group()


@contextmanager
def main_first(place: Place) -> Iterator[None]:
    """Let the first process do something before the others, such as download data.

    Args:
        place: Which process this is.
    """
    if place.rank > 0:
        distributed.barrier()
    yield
    if place.rank == 0 and place.world_size > 1:
        distributed.barrier()


def share(data: Dataset[T], place: Place) -> Dataset[T]:
    """This process' part of the data: every sample is in exactly one.

    Args:
        data: All of it, with a length.
        place: Which process this is.

    Returns:
        Every ``world_size``-th sample, from ``rank`` on; the data itself for a single process.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> data = TensorDataset(torch.arange(5))
        >>> [int(x) for x, in share(data, Place(1, 2))]
        [1, 3]
    """
    if place.world_size == 1:
        return data
    return Subset(data, range(place.rank, len(data), place.world_size))  # type: ignore[arg-type]


def world_size() -> int:
    """How many processes share this run; 1 where torch was built for one alone."""
    together = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if together else 1


def summed(values: Tensor) -> Tensor:
    """Add up over all processes.

    Args:
        values: Numbers of any shape, of the same shape everywhere.

    Returns:
        Their sums; the values themselves for a single process.
    """
    return _reduced(values, "SUM")


def largest(values: Tensor) -> Tensor:
    """The largest over all processes, element by element; otherwise as :func:`summed`."""
    return _reduced(values, "MAX")


def _reduced(values: Tensor, operation: str) -> Tensor:
    if not (distributed.is_available() and distributed.is_initialized()):
        return values  # and a torch built for one process has not even the names
    # NCCL works on its own device only.
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    total = values.to(device, copy=True)
    distributed.all_reduce(total, getattr(distributed.ReduceOp, operation))
    return total.to(values.device)
