"""The memory of this process."""

from __future__ import annotations

import ctypes
import gc
import resource
from pathlib import Path

_PAGES = Path("/proc/self/statm")

after_last = 0  # bytes, when memory was last given back


def own() -> int:
    """Bytes that this process shares with no file; 0 where the system does not say."""
    if not _PAGES.exists():
        return 0
    _, resident, shared, *_ = map(int, _PAGES.read_text().split())
    return (resident - shared) * resource.getpagesize()


def give_back() -> None:
    """Networks hold themselves in circles, and glibc keeps what was freed for later."""
    global after_last
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    after_last = own()
