"""A training run that is resumed, killed or out of room loses nothing."""

import csv
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch

from snntorch_ecl.errors import CheckpointError, ConfigError, DataError, StateError
from snntorch_ecl.experiments import run_training
from snntorch_ecl.experiments._curves import read_curves
from snntorch_ecl.training._atomic_checkpoints import AtomicCheckpoints
from snntorch_ecl.training._lightning import Classifier

from ..helpers.forked import start
from ..helpers.kills import train_until_killed
from ..helpers.runs import experiment, weights

pytestmark = pytest.mark.usefixtures("quick_pictures")


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


# ------------------------------------------------------------------------------ interruption


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    root: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops_in_the_middle_of_an_epoch(self: Classifier, batch: object, index: int) -> object:
        if (self.current_epoch, index) == (1, 2):
            raise RuntimeError("power cut")
        return step(self, batch, index)  # type: ignore[arg-type]

    step = Classifier.training_step
    monkeypatch.setattr(Classifier, "training_step", stops_in_the_middle_of_an_epoch)
    with pytest.raises(RuntimeError, match="power cut"):
        run_training(experiment(root), tmp_path / "run", progress=False)
    monkeypatch.undo()
    assert not (tmp_path / "run" / "ann.safetensors").exists()
    torch.manual_seed(1234)  # whatever the new process has done before
    run_training(experiment(root), tmp_path / "run", resume=True, progress=False)
    assert_same_weights(tmp_path / "run", whole)
    # The curves of both slices are there, and those of one that was never cut.
    assert read_curves(tmp_path / "run") == read_curves(whole)
    with (tmp_path / "run" / "logs" / "version_1" / "metrics.csv").open() as file:
        assert {row["epoch"] for row in csv.DictReader(file)} <= {"1", "2", ""}  # not from 0 again


def test_a_run_killed_while_it_writes_a_checkpoint_loses_only_the_steps_since_the_last(
    root: Path, whole: Path, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    killed = start(train_until_killed, root, tmp_path / "run", said=said)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL, said.read_text()
    last = torch.load(tmp_path / "run" / "last.ckpt", weights_only=False)
    assert last["epoch"] == 0  # the first epoch's, whole
    run_training(experiment(root), tmp_path / "run", resume=True, progress=False)
    assert_same_weights(tmp_path / "run", whole)


def test_resuming_a_finished_run_trains_no_further(root: Path, whole: Path, tmp_path: Path) -> None:
    before = weights(whole)
    run_training(experiment(root), whole, resume=True, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in weights(whole).items())


def test_a_folder_with_a_run_is_not_overwritten(root: Path, whole: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*")}
    with pytest.raises(
        ConfigError, match=r"whole already holds ann\.safetensors; resume its run \(--resume"
    ):
        run_training(experiment(root), whole, progress=False)
    assert {p: p.stat().st_mtime_ns for p in whole.rglob("*")} == before


def test_trained_files_without_settings_are_not_overwritten(root: Path, tmp_path: Path) -> None:
    (tmp_path / "ann.safetensors").write_bytes(b"precious")
    for resume, message in ((False, "already holds ann"), (True, "but no config.json")):
        with pytest.raises(ConfigError, match=message):
            run_training(experiment(root), tmp_path, resume=resume, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["ann.safetensors"]
    assert (tmp_path / "ann.safetensors").read_bytes() == b"precious"


def test_a_run_without_its_last_checkpoint_does_not_begin_again(
    root: Path, whole: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    (run / "last.ckpt").unlink()
    before = weights(run)
    with pytest.raises(ConfigError, match=r"but no last\.ckpt"):
        run_training(experiment(root), run, resume=True, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in weights(run).items())


@pytest.mark.parametrize("size", [0, 1000])
def test_a_damaged_checkpoint_is_named(root: Path, whole: Path, tmp_path: Path, size: int) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    with (run / "last.ckpt").open("r+b") as file:
        file.truncate(size)
    with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged"):
        run_training(experiment(root), run, resume=True, progress=False)


def test_a_run_is_not_resumed_with_other_settings(root: Path, whole: Path) -> None:
    other = experiment(root, levels=8, train={"lr": 0.3})
    with pytest.raises(ConfigError, match=r"levels was 4, now 8; train\.lr was 0\.02, now 0\.3"):
        run_training(other, whole, resume=True, progress=False)


def test_a_run_that_stopped_before_its_first_checkpoint_leaves_the_folder_free(
    root: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="fewer than batch_size=64"):
        run_training(experiment(root, train={"batch_size": 64}), tmp_path, progress=False)
    run_training(experiment(root, train={"epochs": 1}), tmp_path, progress=False)


@pytest.mark.parametrize("text", ["{", "{}", '{"config": 3}', "[]"])
def test_damaged_settings_are_named(root: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "last.ckpt").write_bytes(b"")
    with pytest.raises(DataError, match=r"config\.json does not hold the settings of a run"):
        run_training(experiment(root), tmp_path, resume=True, progress=False)


# --------------------------------------------------------------------------- things going wrong


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explodes(self: Classifier, batch: object, index: int) -> object:
        images, labels = batch  # type: ignore[misc]
        return step(self, (images * (torch.nan if self.current_epoch == 1 else 1), labels), index)

    step = Classifier.training_step
    monkeypatch.setattr(Classifier, "training_step", explodes)
    with pytest.raises(StateError, match=r"loss became nan at step 4 \(epoch 1\)"):
        run_training(experiment(root), tmp_path, progress=False)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=False)
    assert kept["epoch"] == 0
    assert all(bool(v.isfinite().all()) for v in kept["state_dict"].values())


def test_a_full_disk_is_named_and_the_old_checkpoint_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpoints().save_checkpoint({"epoch": 0}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        with pytest.raises(
            StateError, match=r"last\.ckpt cannot be written.*too large\. Make room"
        ):
            AtomicCheckpoints().save_checkpoint({"epoch": 1, "w": torch.zeros(10_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.load(path)["epoch"] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    ("number", "words"), [(28, "No space left on device. Make room"), (30, "Choose a folder")]
)
def test_a_disk_that_fills_up_or_becomes_read_only_while_logging_is_named(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def fails(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("lightning.fabric.loggers.csv_logs._ExperimentWriter.save", fails)
    with pytest.raises(StateError, match=rf"{tmp_path.name} cannot be written to.*{words}"):
        run_training(experiment(root), tmp_path, progress=False)
