"""The commands of the experiments, one after the other as a user runs them."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from snntorch_ecl import models
from snntorch_ecl.cli import _commands as commands
from snntorch_ecl.experiments import MeasureConfig, SweepConfig, TuneConfig, recipe
from snntorch_ecl.models import load_ann
from tests.cli.test_cli import invoke

from ..helpers.runs import experiment, image_folder

pytestmark = pytest.mark.usefixtures("quick_pictures")

SHIPPED = Path(models.__file__).parent / "pretrained" / "digitnet-digits-l4.safetensors"


def tensors_of(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What a safetensors file holds."""
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


class StopHereError(Exception):
    """Stands in for the work itself."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a command would have run: its config and options."""
    calls: list[Any] = []

    def record(config: Any, output_dir: Path, **options: Any) -> None:
        calls.append((config, output_dir, options))
        raise StopHereError

    monkeypatch.setattr(commands, "run_training", record)
    monkeypatch.setattr(commands, "run_sweep", record)
    monkeypatch.setattr(commands, "run_tuning", record)
    return calls


def test_train_evaluate_ablate_finetune_and_sweep_from_one_file(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "images")
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(experiment(root, train={"epochs": 1}).to_dict()))
    out = {name: str(tmp_path / name) for name in ("t", "e", "a", "f", "s")}

    trained = invoke("train", "--config", str(file), "--levels", "2", "--output-dir", out["t"])
    assert trained.exit_code == 0, trained.output
    path = tmp_path / "t" / "ann.safetensors"
    assert str(path) in trained.output
    assert load_ann(path).config.levels == 2

    measured = ("--checkpoint", str(path), "-T", "1", "-T", "3")
    evaluated = invoke("evaluate", *measured, "--output-dir", out["e"])
    assert evaluated.exit_code == 0, evaluated.output
    assert "T = 3" in evaluated.output
    assert "Accuracy on 18 images" in evaluated.output

    ablated = invoke("ablate", *measured, "--images", "6", "--output-dir", out["a"])
    assert ablated.exit_code == 0, ablated.output
    assert "Accuracy on 6 images" in ablated.output
    assert "dual threshold, θ′ = −θ/2" in ablated.output

    tuning = ("--checkpoint", str(path), "-T", "3", "--steps", "1")
    tuned = invoke("finetune", *tuning, "--epochs", "1", "--output-dir", out["f"])
    assert tuned.exit_code != 0  # fewer images than the default batch
    assert "fewer than batch_size=128" in tuned.output
    tune = tmp_path / "tune.yaml"
    tune.write_text(yaml.safe_dump({"train": {"batch_size": 8}}))
    tuned = invoke(
        "finetune", *tuning, "--config", str(tune), "--epochs", "1", "--output-dir", out["f"],
    )  # fmt: skip
    assert tuned.exit_code == 0, tuned.output
    assert "Fine-tuning" in tuned.output
    assert "at T = 3" in tuned.output
    settings = json.loads((tmp_path / "f" / "tuning.json").read_text())["config"]
    assert (settings["train"]["lr"], settings["train"]["batch_size"]) == (0.05, 8)

    for command in ("evaluate", "ablate"):
        folder = tmp_path / f"tuned-{command}"
        again = invoke(command, *measured, "--tuned", out["f"], "--output-dir", str(folder))
        assert again.exit_code == 0, again.output
    found = (tmp_path / name for name in ("f/tuning.json", "tuned-evaluate/evaluation.json"))
    left, right = (json.loads(path.read_text())["figures"] for path in found)
    assert left["accuracy"] == right["accuracy"]

    grid = tmp_path / "grid.yaml"
    grid.write_text(yaml.safe_dump({"experiment": experiment(root).to_dict(), "seeds": 1}))
    swept = invoke(
        "sweep", "--config", str(grid), "-L", "2", "-T", "1", "-T", "2", "--epochs", "1",
        "--output-dir", out["s"],
    )  # fmt: skip
    assert swept.exit_code == 0, swept.output
    assert "L = 2" in swept.output
    again = invoke(
        "sweep", "--config", str(tmp_path / "s" / "sweep.json"), "--output-dir", out["s"]
    )
    assert again.exit_code == 0, again.output
    assert again.output.splitlines()[-6:] == swept.output.splitlines()[-6:]


@pytest.mark.parametrize(
    ("name", "accuracy"), [("digitnet-digits-l4", "85.1"), ("digitnet-digits-l4-t2", "97.5")]
)
def test_a_network_that_ships_is_measured_by_its_name(
    name: str, accuracy: str, tmp_path: Path
) -> None:
    """The figures of the package, which other runs measured; every tenth image is close to them."""
    folder = tmp_path / "e"
    options = ("--pretrained", name, "-T", "2", "--images", "100", "--output-dir", str(folder))
    result = invoke("evaluate", *options)
    assert result.exit_code == 0, result.output
    found = json.loads((folder / "evaluation.json").read_text())["figures"]["accuracy"][1]
    assert abs(100 * found - float(accuracy)) < 5


def test_energy_at_several_steps_is_no_guess(tmp_path: Path) -> None:
    """The settings of an evaluation have several T; energy is counted at one."""
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps({"config": {"checkpoint": "a", "steps": [1, 2, 32]}}))
    for command in ("energy", "early-exit"):
        result = invoke(command, "--config", str(file), "--output-dir", str(tmp_path / "x"))
        assert result.exit_code == 1
        assert "at one T; got steps=[1, 2, 32]. Choose one (-T)" in result.output
    chosen = invoke("energy", "--config", str(file), "-T", "2", "--output-dir", str(tmp_path / "x"))
    assert "there is no file a" in chosen.output  # it went on


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_folder_name_that_is_too_long_is_one_clear_error(command: str, tmp_path: Path) -> None:
    result = invoke(command, "--output-dir", str(tmp_path / ("x" * 300)), width=1000)
    assert result.exit_code == 1
    assert "cannot be written to: [Errno 36] File name too long" in result.output


def test_bench_looks_for_matplotlib_before_it_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr("snntorch_ecl.experiments._bench.time_modes", None)
    result = invoke("bench", "--output-dir", str(tmp_path / "x"))
    assert result.exit_code == 1
    assert "this needs matplotlib" in result.output


def test_weights_that_are_not_numbers_are_named(tmp_path: Path) -> None:
    path, (tensors, metadata) = tmp_path / "nan.safetensors", tensors_of(SHIPPED)
    tensors["fc.weight"][0, 0] = torch.nan
    save_file(tensors, path, metadata)
    result = invoke("evaluate", "--checkpoint", str(path), "--output-dir", str(tmp_path / "x"))
    assert result.exit_code == 1
    text = " ".join(result.output.split())
    assert "fc.weight holds 1 values that are NaN or infinite" in text
    assert "learning rate" not in text


def test_threads_are_those_asked_for(asked: list[Any], tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        invoke("train", "--threads", "3", "--output-dir", str(tmp_path))
        assert asked
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_flags_win_over_the_recipe(asked: list[Any], tmp_path: Path) -> None:
    invoke(
        "train", "--recipe", "resnet18-cifar10", "--data-root", "here", "--levels", "8",
        "--epochs", "3", "--lr", "0.01", "--seed", "5", "--per-channel", "--weights", "w",
        "--resume", "--devices", "2", "--num-nodes", "3", "--accelerator", "cpu",
        "--output-dir", str(tmp_path),
    )  # fmt: skip
    ((config, output_dir, options),) = asked
    train = {"epochs": 3, "lr": 0.01, "seed": 5}
    over = {"levels": 8, "seed": 5, "per_channel": True, "weights": "w", "train": train}
    assert config == recipe("resnet18-cifar10", {**over, "data": {"root": "here"}})
    assert output_dir == tmp_path
    several = {"devices": 2, "num_nodes": 3, "accelerator": "cpu"}
    assert options == {"resume": True, **several}


def test_a_relu_network_is_trained_by_a_flag(asked: list[Any], tmp_path: Path) -> None:
    invoke("train", "--relu", "--output-dir", str(tmp_path))
    assert asked[0][0].relu is True


def test_every_flag_of_a_fine_tuning_reaches_it(asked: list[Any], tmp_path: Path) -> None:
    invoke(
        "finetune", "--checkpoint", "a", "--data-root", "here", "-T", "1",
        "--distillation", "0.5", "--surrogate", "atan", "--start", "runs/t2", "--epochs", "3",
        "--teacher", "b", "--teacher", "c", "--lr", "0.01", "--steps", "1", "--steps", "2",
        "--images", "7", "--resume", "--devices", "2", "--num-nodes", "3", "--accelerator", "cpu",
        "--output-dir", str(tmp_path),
    )  # fmt: skip
    ((config, output_dir, options),) = asked
    assert config == TuneConfig(
        measure=MeasureConfig(checkpoint="a", data_root="here", steps=(1, 2), images=7),
        num_steps=1,
        distillation=0.5,
        surrogate="atan",
        teachers=("b", "c"),
        start="runs/t2",
        train=replace(TuneConfig(measure=MeasureConfig(checkpoint="a")).train, epochs=3, lr=0.01),
    )
    assert output_dir == tmp_path
    several = {"devices": 2, "num_nodes": 3, "accelerator": "cpu"}
    assert options == {"resume": True, **several}


def test_a_sweep_takes_a_recipe(asked: list[Any], tmp_path: Path) -> None:
    folder = str(tmp_path)
    invoke("sweep", "--recipe", "resnet18-cifar10", "--data-root", "x", "--output-dir", folder)
    invoke("sweep", "--epochs", "3", "--output-dir", folder)
    assert asked[0][0].experiment == recipe("resnet18-cifar10", {"data": {"root": "x"}})
    assert asked[1][0].experiment == recipe("digits", {"train": {"epochs": 3}})
    assert asked[1][0].levels == SweepConfig().levels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--recipe", "lenet-mars"), "there is no recipe 'lenet-mars'; the package has"),
        (("train", "--recipe", "digits", "--config", "x"), "give --config or --recipe, not both"),
        (("sweep", "--recipe", "digits", "--config", "x"), "give --config or --recipe, not both"),
        (("train", "--recipe", "resnet18-cifar10"), "data.root must name the folder of 'cifar10'"),
        (("train", "--config", "none.yaml"), "config none.yaml cannot be read"),
        (("evaluate",), "give a trained network: either --checkpoint"),
        (("finetune",), "give a trained network: either --checkpoint"),
        (
            ("evaluate", "--checkpoint", "a", "--pretrained", "digitnet-digits-l4"),
            "got checkpoint='a', pretrained='digitnet-digits-l4'",
        ),
        (("evaluate", "--pretrained", "lenet"), "there is no network 'lenet'; the package ships"),
        (
            ("evaluate", "--pretrained", "digitnet-digits-l4-t2", "--tuned", "x"),
            "digitnet-digits-l4-t2 is fine-tuned already",
        ),
        (
            ("finetune", "--pretrained", "digitnet-digits-l4-t2"),
            "fine-tuned already; name the ANN that it comes from (one of digitnet-digits-l4,",
        ),
        (
            ("energy", "--pretrained", "resnet20-cifar10-l4"),
            "ships without the images it was trained on. Name their folder, with --data-root",
        ),
        (
            ("early-exit", "--checkpoint", "a", "-T", "2", "--min-steps", "3"),
            "min_steps=3 is more than T=2",
        ),
        (("train", "--devices", "0"), "devices must be an integer >= 1; got 0"),
        (("train", "--threads", "0"), "threads must be an integer >= 1; got 0"),
        (("train", "--resume"), "holds no run to resume"),
        (("finetune", "--checkpoint", "a", "--resume"), "holds no run to resume"),
        (("ablate", "--checkpoint", "none"), "there is no file none"),
        (
            ("evaluate", "--checkpoint", str(SHIPPED), "--tuned", "none"),
            "there is no none/snn.safetensors; name the output folder of a fine-tuning",
        ),
        (("finetune", "--checkpoint", "a", "--num-steps", "0"), "num_steps must be an integer"),
        (("sweep", "-L", "0"), "levels must be an integer >= 1; got 0"),
    ],
)
def test_bad_input_is_one_clear_error(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    result = invoke(*arguments, "--output-dir", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()
