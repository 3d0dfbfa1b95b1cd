"""Threads: those asked for, else the idle cores, shared by the processes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from snntorch_ecl._util.threads import use_threads


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine of eight cores where torch would take six."""
    before = torch.get_num_threads()
    torch.set_num_threads(6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 9.0, 9.0), raising=False)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("busy", "processes", "expected"),
    [(0.2, 1, 6), (3.4, 1, 5), (7.0, 1, 1), (30.0, 1, 1), (0.0, 2, 3), (7.0, 4, 1)],
)
def test_idle_cores_are_used(
    busy: float, processes: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (busy, 9.0, 9.0))
    assert use_threads(None, processes=processes) == torch.get_num_threads() == expected


def test_the_environment_and_the_user_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    monkeypatch.setattr(os, "getloadavg", lambda: (8.0, 9.0, 9.0))
    assert use_threads(None) == 6
    assert use_threads(2) == 2


def test_a_system_that_does_not_tell_uses_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert use_threads(None) == 4
