"""Two processes, started once, find what one finds: accuracy, energy, early exit, thresholds.

And they learn what one learns.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ..conversion.test_calibrate import METHODS, calibrated, thresholds
from ..helpers.fits import fit_on
from ..helpers.processes import costs, fork_two
from ..helpers.runs import python

pytestmark = pytest.mark.usefixtures("quick_pictures")

SCRIPT = """
    import sys
    from pathlib import Path
    from tests.helpers.processes import one_of_two

    one_of_two(Path(sys.argv[2]), Path(sys.argv[1]))
"""
SHARES = ("0-4", "1-3")  # of the seven images, by process


def torchrun(checkpoint: Path, folder: Path) -> None:
    done = python(SCRIPT, folder, checkpoint, processes=2)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module", params=[fork_two, pytest.param(torchrun, marks=pytest.mark.slow)])
def folder(
    request: pytest.FixtureRequest, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What one process left in ``one`` and two in ``two``."""
    folder = tmp_path_factory.mktemp("processes")
    costs(checkpoint, folder / "one")
    fit_on(1, folder)
    request.param(checkpoint, folder)
    return folder


def figures(folder: Path, name: str) -> list[dict[str, Any]]:
    files = (folder / number / f"{name}.json" for number in ("one", "two"))
    return [json.loads(file.read_text())["figures"] for file in files]


def flat(figures: Any) -> list[float]:
    """All numbers, in their order."""
    if isinstance(figures, dict):
        return [number for value in figures.values() for number in flat(value)]
    if isinstance(figures, list):
        return [number for value in figures for number in flat(value)]
    return [float(figures)] if isinstance(figures, (int, float)) else []


@pytest.mark.parametrize("name", ["energy", "early_exit"])
def test_costs_are_equal(folder: Path, name: str) -> None:
    one, two = figures(folder, name)
    assert two["samples"] == one["samples"] == 7
    assert flat(two) == pytest.approx(flat(one), rel=1e-6)


def test_each_process_sees_its_share_alone(folder: Path) -> None:
    seen = {path.name for path in folder.iterdir() if path.name.startswith(("energy", "exit"))}
    assert seen == {f"{name}-{share}" for name in ("energy", "exit_curve") for share in SHARES}


def test_accuracies_are_equal(folder: Path) -> None:
    one, two = figures(folder, "evaluation")
    layers, others = one.pop("layers"), two.pop("layers")
    assert two == one
    assert two["samples"] == 18
    for layer, other in zip(layers, others, strict=True):
        assert layer.pop("name") == other.pop("name")
        assert layer == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_thresholds_are_equal(folder: Path, method: Any) -> None:
    alone = thresholds(calibrated(method=method, per_channel=method == "mse"))
    for rank in (0, 1):
        together = torch.load(folder / "thresholds" / f"{method} {rank}.pt")
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, rtol=1e-3, atol=0)


def test_no_process_waits_for_one_that_has_no_data(folder: Path) -> None:
    assert "another process has no data" in (folder / "thresholds" / "error 0").read_text()
    assert "the data is empty" in (folder / "thresholds" / "error 1").read_text()


def curves(file: Path) -> dict[str, list[float]]:
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


def test_with_the_same_global_batch_they_learn_what_one_learns(folder: Path) -> None:
    one, two = (curves(folder / f"fit {n}/logs/version_0/metrics.csv") for n in (1, 2))
    assert len(one["loss_epoch"]) == 3
    assert one["loss_epoch"][0] > one["loss_epoch"][-1]
    for name in ("loss_epoch", "loss_step", "accuracy", "threshold/1"):
        assert two[name] == pytest.approx(one[name], rel=1e-4), name
    first, second = (torch.load(folder / f"fit {n}/weights.pt") for n in (1, 2))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-5)
