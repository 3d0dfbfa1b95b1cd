"""The benchmarks run: what they measure is in the README."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from snntorch_ecl.experiment import run_training

from .runs import experiment, image_folder

FOLDER = Path(__file__).parent.parent / "benchmarks"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_conversion_without_training_is_measured_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = image_folder(tmp_path / "images")
    checkpoint = run_training(experiment(root, relu=True), tmp_path / "relu", progress=False)
    bench = script("training_free")
    command = [
        "training_free.py", "--checkpoint", str(checkpoint), "--data-root", str(root),
        "--output-dir", str(tmp_path / "out"), "--images", "6", "--calibration", "8",
        "--only", "mse, per channel, dual", "--steps", "1", "2",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command)
    bench.main()
    figures = json.loads((tmp_path / "out" / "training-free.json").read_text(encoding="utf-8"))
    kinds = ("none", "weights", "steps", "biases")
    assert list(figures["rows"]) == [f"mse, per channel, dual, {kind}" for kind in kinds]
    for row in figures["rows"].values():
        assert all(0 <= row[t] <= 1 and row["seconds"][t] > 0 for t in ("1", "2"))
    assert (figures["images"], figures["calibration"]) == (6, 8)
    capsys.readouterr()
    bench.main()  # nothing is left to measure
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "mse, per channel, dual, weights" in shown.out


def test_all_settings_are_there_once() -> None:
    rows = list(script("training_free").rows())
    assert len(rows) == len(set(rows)) == 2 * 2 * 2 * 3 + 2
