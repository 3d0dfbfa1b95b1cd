"""Random numbers of a run's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_random_numbers(seed: int) -> Iterator[None]:
    """Random numbers of a run's own from a seed; the caller's go on as if nothing had happened."""
    # Where no accelerator was used so far there is nothing to restore, nor a reason to start one.
    used = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if used else []):
        torch.manual_seed(seed)
        yield
