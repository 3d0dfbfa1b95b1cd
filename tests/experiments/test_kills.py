"""Runs that are ended at random moments lose nothing that was written, and go on."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def ended(folder: Path, rounds: int, seed: int, *commands: str) -> dict[str, int]:
    """How often each command was ended; all else is asserted in the process."""
    arguments = [str(folder), str(rounds), str(seed), *commands]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.helpers.kills", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-3000:]}"
    return dict(json.loads(done.stdout))


def test_a_training_ended_at_random_moments_ends_with_the_same_weights(tmp_path: Path) -> None:
    assert ended(tmp_path, 2, 0, "train") == {"train": 4}


@pytest.mark.slow
def test_every_command_ended_at_random_moments_finds_the_same(tmp_path: Path) -> None:
    names = ("train", "finetune", "sweep", "evaluate", "ablate", "energy", "early-exit", "bench")
    assert ended(tmp_path, 8, random.randrange(2**32), *names) == dict.fromkeys(names, 16)
