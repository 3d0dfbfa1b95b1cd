"""Random numbers that do not depend on the caller's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_random_numbers(seed: int) -> Iterator[None]:
    """Seed random numbers for the block; afterwards restore the caller's generators."""
    # If no accelerator was used so far, there is nothing to restore; do not start one.
    used = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if used else []):
        torch.manual_seed(seed)
        yield
