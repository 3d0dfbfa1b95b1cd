"""Two processes, started once, measure what one measures: accuracy, energy, early exit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from snntorch_ecl.experiments import (
    EnergyConfig,
    ExitConfig,
    MeasureConfig,
    run_early_exit,
    run_energy,
    run_evaluation,
    run_training,
)

from ..helpers.runs import experiment, image_folder, python

SCRIPT = """
    import os, sys
    from pathlib import Path
    from snntorch_ecl._util.processes import joined
    from snntorch_ecl.experiments import (
        EnergyConfig, ExitConfig, MeasureConfig, run_early_exit, run_energy, run_evaluation
    )
    from snntorch_ecl.experiments import _cost_runs as runs

    for name in ("energy", "exit_curve"):
        def watched(snn, data, whole=getattr(runs, name), **options):
            seen = sum(len(images) for images, _ in data)
            Path(sys.argv[1], f"{whole.__name__}-{os.environ['RANK']}-{seen}").touch()
            return whole(snn, data, **options)

        setattr(runs, name, watched)
    folder, checkpoint = Path(sys.argv[1]) / "two", sys.argv[2]
    some = {"checkpoint": checkpoint, "steps": (3,), "images": 7}
    with joined():  # once: they cannot meet a second time
        run_energy(EnergyConfig(**some), folder, progress=False)
        run_early_exit(ExitConfig(**some), folder, progress=False)
        whole = MeasureConfig(checkpoint=checkpoint, steps=(1, 2, 4))
        run_evaluation(whole, folder, progress=False)
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
