"""Processes forked from one that has loaded all a run needs: each begins at once."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["pytest", "tests.helpers.kills"])

NOWHERE = Path(os.devnull)


def start(
    function: Callable[..., object],
    *arguments: Any,
    said: Path = NOWHERE,
    environment: Mapping[str, str] | None = None,
) -> ForkServerProcess:
    """Call a function in a process of its own; what that says is written to a file."""
    process = _context.Process(target=_call, args=(said, environment, function, arguments))
    process.start()
    return process


def stop() -> None:
    """End the process that others are forked from: it holds half a gigabyte."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # the next start begins another


def _call(
    said: Path,
    environment: Mapping[str, str] | None,
    function: Callable[..., object],
    arguments: tuple[Any, ...],
) -> None:
    os.environ.update(environment or {})
    file = os.open(said, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    function(*arguments)
