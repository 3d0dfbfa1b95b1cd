"""How many threads of the processor to use."""

from __future__ import annotations

import os

import torch

from .checks import check_whole_numbers


def use_threads(number: int | None, *, processes: int = 1) -> int:
    """Set torch's threads, or choose: the cores that are idle, shared by the processes here.

    A thread more than there are idle cores makes every operation wait for it. Without a number,
    ``OMP_NUM_THREADS`` is kept where it is set.
    """
    if number is not None:
        check_whole_numbers("threads", (number,), lowest=1)
        torch.set_num_threads(number)
    elif "OMP_NUM_THREADS" not in os.environ:
        own = torch.get_num_threads()
        torch.set_num_threads(max(1, min(own, idle_cores()) // max(1, processes)))
    return torch.get_num_threads()


def idle_cores() -> int:
    """Cores of this process less the mean number of busy ones in the last minute."""
    try:
        cores, busy = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    except (AttributeError, OSError):  # not on every system
        return os.cpu_count() or 1
    return max(1, cores - round(busy))
