"""The benchmarks run: what they measure is in the README."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

import snntorch_ecl as ecl
from snntorch_ecl.experiments._training_run import run_training

from .helpers.runs import experiment, image_folder

FOLDER = Path(__file__).parent.parent / "benchmarks"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
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
    assert len(rows) == len(set(rows)) == 2 * 2 * 2 * 3 + 3


@pytest.mark.slow
def test_a_fused_clip_trains_in_relus_memory() -> None:
    bench = script("training_step")
    device = torch.device("cpu")
    found = {}
    for kind in ("relu", "clip, L = 4", "clip, L = 4, fused"):
        step = bench.step_of(bench.network(kind, "resnet20", device), 16, device)
        step()  # compiles, and makes the optimiser's state
        found[kind] = bench.peak(step, device)
    assert found["clip, L = 4, fused"] <= 1.05 * found["relu"]
    assert found["clip, L = 4"] >= 1.2 * found["relu"]


def test_what_spikes_lose_is_measured_layer_by_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = image_folder(tmp_path / "images")
    checkpoint = run_training(experiment(root), tmp_path / "run", progress=False)
    lost = script("information_lost")
    shares = {}
    for num_steps in (1, 64):
        output = tmp_path / f"{num_steps}.json"
        command = [
            "information_lost.py", "--checkpoint", str(checkpoint), "-T", str(num_steps),
            "--images", "6", "--output", str(output),
        ]  # fmt: skip
        monkeypatch.setattr(sys, "argv", command)
        lost.main()
        shares[num_steps] = json.loads(output.read_text(encoding="utf-8"))
    first = next(iter(shares[1]))  # the same current at each step: only rounding is lost
    assert shares[64][first][0] < 0.01 < shares[1][first][0]
    assert shares[1][first][1] == pytest.approx(shares[64][first][1])
    assert first in capsys.readouterr().out


def test_what_spikes_lose_by_hand() -> None:
    lost = script("information_lost").Lost(2, 4)
    neuron = ecl.DualThreshold(1.0)
    current = torch.tensor([[0.0], [0.5]])  # two images, held for two steps
    spikes = torch.tensor([[0.0], [1.0], [0.0], [0.0]])  # told: 0 and 0.5
    lost(neuron, (current,), spikes)
    assert lost.shares() == pytest.approx((0.0, 0.0), abs=1e-12)
    lost(neuron, (current,), torch.tensor([[1.0], [0.0], [1.0], [0.0]]))  # told: 1 and 0
    # Told 0, 0.5, 1, 0 of 0, 0.5, 0, 0.5: covariance −1/32, variances 11/64 and 1/16.
    assert lost.shares() == pytest.approx((1 - 1 / 11, 0.0))


@pytest.mark.slow
def test_the_papers_script_trains_measures_and_goes_on(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        x = generator.integers(0, 256, (64, 3, 32, 32), dtype=np.uint8)
        np.savez(tmp_path / f"cifar10_{split}.npz", x=x, y=np.arange(64) % 10)
    command = [
        sys.executable, str(FOLDER / "paper.py"), "--data", str(tmp_path), "--device", "cpu",
        "--output-dir", str(tmp_path / "out"), "--model", "resnet20", "--no-compile",
        "--epochs", "1", "--tune-epochs", "1", "--batch-size", "32", "--seconds", "300",
    ]  # fmt: skip
    subprocess.run([*command, "--stages", "train,table"], check=True, capture_output=True)
    again = [*command, "--stages", "train,table,finetune-t1"]
    shown = subprocess.run(again, check=True, capture_output=True, text=True).stdout
    assert "train:" not in shown  # it is done
    figures = json.loads((tmp_path / "out" / "paper.json").read_text(encoding="utf-8"))
    assert figures["train"]["epochs"] == 1
    assert figures["train"]["same gradients"] is None  # nothing was compiled
    for name in ("dual threshold, θ/2", "IF, θ/2", "dual threshold, 0", "IF, 0"):
        assert len(figures["table"][name]["accuracy"]) == 8
    ann = ecl.models.load_ann(tmp_path / "out" / "ann.safetensors").ann
    snn = ecl.load(tmp_path / "out" / "snn-t1.safetensors", ann)
    assert snn(torch.rand(2, 3, 32, 32), num_steps=1).shape == (2, 10)


def test_levels_at_a_share_are_those_of_the_move_that_reached_it(tmp_path: Path) -> None:
    bench = script("levels")
    moves = [
        {"name": name, "levels": levels, "error": 0.1, "spikes": spikes}
        for name, levels, spikes in (("b", 3, 0.92), ("a", 3, 0.75), ("b", 2, 0.7), ("b", 1, 0.5))
    ]
    layers = [{"name": name, "start": 4} for name in "ab"]
    row = {"T 4 path": {"layers": layers, "moves": moves}}
    (tmp_path / "levels.json").write_text(json.dumps({"rows": row}))
    given = SimpleNamespace(
        network="digits", output_dir=tmp_path, images=20, shares=(0.5, 0.8, 0.9, 0.6)
    )
    found = bench.Bench(given).path("T 4 path", torch.nn.Identity(), 4)
    assert found == {0.8: {"a": 3, "b": 3}, 0.5: {"a": 3, "b": 1}}


def test_a_difference_has_the_standard_error_of_pairs() -> None:
    bench = script("levels")
    # Differences 1, 0, 0, −1, 1, 0: mean 1/6, variance (3 − 6/36)/5.
    one, other = {"right": "110010"}, {"right": "010100"}
    assert bench.difference(one, other) == "+16.7 ± 30.7"
