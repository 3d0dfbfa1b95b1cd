"""Several processes that share one run (``torchrun``, Lightning's DDP): roles, shares and sums.

Only this module uses ``torch.distributed``, which is almost empty in some builds of torch.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, distributed
from torch.utils.data import Dataset, Subset

from ..errors import ConfigError

T = TypeVar("T")

_stores: list[Any] = []  # at most one: the first process serves it
_meetings = itertools.count()


class Place(NamedTuple):
    """This process' rank, and the number of processes."""

    rank: int
    world_size: int


def is_main(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this process is the one that writes files and prints.

    It reads the variables of torchrun, Slurm or Lightning's launcher, and so works before the
    process group exists.

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
    """Whether this process belongs to a process group."""
    return distributed.is_available() and distributed.is_initialized()


def place_here() -> Place:
    """This process' place; ``(0, 1)`` without a process group."""
    return Place(distributed.get_rank(), world_size()) if have_met() else Place(0, 1)


def world_size() -> int:
    """How many processes share this run."""
    return distributed.get_world_size() if have_met() else 1


@contextmanager
def joined() -> Iterator[Place]:
    """Join the process group of ``torchrun``, unless that is done; yields this process' place."""
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
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    place = Place(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    distributed.init_process_group(
        backend, store=_fresh_store(), rank=place.rank, world_size=place.world_size
    )
    try:
        yield place_here()
    finally:
        distributed.destroy_process_group()


def _fresh_store() -> Any:
    """Where processes find each other: keys of its own for each meeting.

    By default every group of a process writes the same keys, and a second one would read the
    addresses that the first has left and wait at them for ever.
    """
    untyped: Any = distributed
    if not _stores:
        _stores.append(next(untyped.rendezvous("env://"))[0])
    return untyped.PrefixStore(f"snntorch-ecl {next(_meetings)}", _stores[0])


@contextmanager
def main_first(place: Place) -> Iterator[None]:
    """Run the block in the first process before the others, for a download for example."""
    if place.rank > 0:
        distributed.barrier()
    yield
    if place.rank == 0 and place.world_size > 1:
        distributed.barrier()


def share(data: Dataset[T], place: Place) -> Dataset[T]:
    """This process' part of the data; each sample is in exactly one part.

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
    """The sums over all processes, element by element; unchanged for a single process."""
    return _reduced(values, "SUM")


def largest(values: Tensor) -> Tensor:
    """The maxima over all processes, element by element; unchanged for a single process."""
    return _reduced(values, "MAX")


def _reduced(values: Tensor, operation: str) -> Tensor:
    """Reduce over all processes, element by element."""
    if not have_met():
        return values
    # NCCL reduces only tensors on its device.
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    total = values.to(device, copy=True)
    distributed.all_reduce(total, getattr(distributed.ReduceOp, operation))
    return total.to(values.device)
