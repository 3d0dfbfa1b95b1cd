"""Two processes, started once, find what one finds: accuracy, energy, early exit, thresholds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from snntorch_ecl.experiments import (
    EnergyConfig,
    ExitConfig,
    MeasureConfig,
    run_early_exit,
    run_energy,
    run_evaluation,
    run_training,
)

from ..conversion.test_calibrate import METHODS, calibrated, thresholds
from ..helpers.runs import experiment, image_folder, python

SCRIPT = """
    import os, sys
    from pathlib import Path
    import torch
    import snntorch_ecl as ecl
    from snntorch_ecl.errors import DataError
    from snntorch_ecl._util.processes import joined
    from snntorch_ecl.experiments import (
        EnergyConfig, ExitConfig, MeasureConfig, run_early_exit, run_energy, run_evaluation
    )
    from snntorch_ecl.experiments import _cost_runs as runs
    from tests.conversion.test_calibrate import images, network, thresholds

    for name in ("energy", "exit_curve"):
        def watched(snn, data, whole=getattr(runs, name), **options):
            seen = sum(len(images) for images, _ in data)
            Path(sys.argv[1], f"{whole.__name__}-{os.environ['RANK']}-{seen}").touch()
            return whole(snn, data, **options)

        setattr(runs, name, watched)
    folder, checkpoint = Path(sys.argv[1]) / "two", sys.argv[2]
    some = {"checkpoint": checkpoint, "steps": (3,), "images": 7}
    run_energy(EnergyConfig(**some), folder, progress=False)  # each meets anew
    run_early_exit(ExitConfig(**some), folder, progress=False)
    whole = MeasureConfig(checkpoint=checkpoint, steps=(1, 2, 4))
    run_evaluation(whole, folder, progress=False)
    with joined() as place:
        chosen = Path(sys.argv[1]) / "thresholds"
        chosen.mkdir(exist_ok=True)
        for method in ("mse", "percentile", "max"):
            ann = ecl.prepare(network(), per_channel=method == "mse")
            share = images()[place.rank :: 2].split(7)
            options = {"method": method, "distributed": True, "progress": False}
            found = thresholds(ecl.calibrate(ann, share, **options))
            torch.save(found, chosen / f"{method} {place.rank}.pt")
        try:  # no process waits for one that has nothing
            ecl.calibrate(ann, share if place.rank == 0 else [], **options)
        except DataError as error:
            (chosen / f"error {place.rank}").write_text(str(error))
"""
SHARES = ("0-4", "1-3")  # of the seven images, by process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process left in ``one`` and two in ``two``."""
    folder = tmp_path_factory.mktemp("processes")
    experiment_ = experiment(image_folder(folder / "images"), train={"epochs": 1})
    checkpoint = str(run_training(experiment_, folder / "run", progress=False))
    some: dict[str, Any] = {"checkpoint": checkpoint, "steps": (3,), "images": 7}
    run_energy(EnergyConfig(**some), folder / "one", progress=False)
    run_early_exit(ExitConfig(**some), folder / "one", progress=False)
    whole = MeasureConfig(checkpoint=checkpoint, steps=(1, 2, 4))
    run_evaluation(whole, folder / "one", progress=False)
    done = python(SCRIPT, folder, checkpoint, processes=2)
    assert done.returncode == 0, done.stderr[-2000:]
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
    seen = {path.name for path in folder.iterdir() if path.is_file()} - {"script.py"}
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
