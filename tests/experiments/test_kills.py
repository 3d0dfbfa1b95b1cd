"""Runs that are ended at random moments lose nothing that was written, and go on."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from ..helpers.forked import start
from ..helpers.kills import kill


def ended(folder: Path, rounds: int, seed: int, *commands: str) -> dict[str, int]:
    """How often each command was ended; all else is asserted in the process."""
    said = folder / "said"
    process = start(kill, folder, rounds, seed, commands, said=said)
    process.join()
    assert process.exitcode == 0, f"seed {seed}: {said.read_text()[-3000:]}"
    return dict(json.loads((folder / "ends.json").read_text()))


def test_a_training_ended_at_random_moments_ends_with_the_same_weights(tmp_path: Path) -> None:
    assert ended(tmp_path, 1, 0, "train") == {"train": 2}


@pytest.mark.slow
def test_every_command_ended_at_random_moments_finds_the_same(tmp_path: Path) -> None:
    names = ("train", "finetune", "sweep", "evaluate", "ablate", "energy", "early-exit", "bench")
    assert ended(tmp_path, 8, random.randrange(2**32), *names) == dict.fromkeys(names, 16)
