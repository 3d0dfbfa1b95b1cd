"""The commands of the experiments, one after the other as a user runs them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from snntorch_ecl import models
from snntorch_ecl.cli import _commands as commands
from snntorch_ecl.experiments import MeasureConfig, SweepConfig, TuneConfig, recipe
from snntorch_ecl.models import load_ann
from tests.cli.test_cli import invoke

from ..helpers.runs import experiment, image_folder

SHIPPED = Path(models.__file__).parent / "pretrained" / "digitnet-digits-l4.safetensors"


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

    tuned = invoke("finetune", *measured, "--epochs", "1", "--output-dir", out["f"])
    assert tuned.exit_code != 0  # fewer images than the default batch
    assert "fewer than batch_size=128" in tuned.output
    tune = tmp_path / "tune.yaml"
    tune.write_text(yaml.safe_dump({"train": {"batch_size": 8}}))
    tuned = invoke(
        "finetune", *measured, "--config", str(tune), "--epochs", "1", "--output-dir", out["f"],
    )  # fmt: skip
    assert tuned.exit_code == 0, tuned.output
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
        "finetune", "--checkpoint", "a", "--data-root", "here", "--num-steps", "1",
        "--distillation", "0.5", "--surrogate", "atan", "--start", "runs/t2", "--epochs", "3",
        "--teacher", "b", "--teacher", "c", "--lr", "0.01", "-T", "1", "-T", "2", "--images", "7",
        "--resume", "--devices", "2", "--num-nodes", "3", "--accelerator", "cpu",
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
        (("evaluate",), "needs settings that are missing: checkpoint"),
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
