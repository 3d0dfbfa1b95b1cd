"""Several processes that share one run (``torchrun``, Lightning's DDP): roles, shares and sums."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.utils.data import Dataset, Subset

__all__ = [
    "Place",
    "computes_bfloat16",
    "default_device",
    "device_of",
    "is_main",
    "joined",
    "largest",
    "main_first",
    "own_random_numbers",
    "share",
    "summed",
]

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


def summed(values: Tensor) -> Tensor:
    """Add up over all processes.

    Args:
        values: Numbers of any shape, of the same shape everywhere.

    Returns:
        Their sums; the values themselves for a single process.
    """
    return _reduced(values, distributed.ReduceOp.SUM)


def largest(values: Tensor) -> Tensor:
    """The largest over all processes, element by element; otherwise as :func:`summed`."""
    return _reduced(values, distributed.ReduceOp.MAX)


def _reduced(values: Tensor, operation: Any) -> Tensor:
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    # NCCL works on its own device only.
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    total = values.to(device, copy=True)
    distributed.all_reduce(total, operation)
    return total.to(values.device)


def default_device() -> torch.device:
    """This process' accelerator, or the CPU where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def computes_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 fast; yes where torch cannot tell."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a torch without oneDNN
        return True


@contextmanager
def own_random_numbers(seed: int) -> Iterator[None]:
    """Random numbers of a run's own; the caller's go on as if nothing had happened.

    Args:
        seed: What they start from.
    """
    # Where no accelerator was used so far there is nothing to restore, nor a reason to start one.
    used = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if used else []):
        torch.manual_seed(seed)
        yield


def device_of(model: nn.Module) -> torch.device:
    """Where a model's parameters are; the CPU if it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
