"""Runs of threads take turns."""

from __future__ import annotations

import threading

import pytest
import torch

import snntorch_ecl as ecl
from snntorch_ecl._util.turns import Turn


def test_a_thread_waits_although_another_one_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    # torch's flag is that of the process: a thread that only runs sees it as well.
    monkeypatch.setattr(torch.compiler, "_is_compiling_flag", True)
    turn, inside = Turn(), threading.Event()

    def enter() -> None:
        with turn.run():
            inside.set()

    thread = threading.Thread(target=enter)
    with turn.run():
        thread.start()
        assert not inside.wait(0.1)
    thread.join()
    assert inside.is_set()


def test_a_membrane_is_looked_at_although_another_thread_compiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.compiler, "_is_compiling_flag", True)
    neuron = ecl.DualThreshold(init_hidden=True)
    assert neuron(torch.tensor([0.8])).item() == 1
    neuron.mem.zero_()  # fresh: there is nothing to take back
    assert neuron(torch.tensor([-3.0])).item() == 0
