"""A training run: resumed, killed, out of room, spread over processes: nothing is lost."""

import csv
import json
import os
import resource
import shutil
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

from snntorch_ecl import ThresholdClip, models
from snntorch_ecl._util.processes import Place
from snntorch_ecl.errors import CheckpointError, ConfigError, DataError, InputError, StateError
from snntorch_ecl.experiments import load_data, run_training
from snntorch_ecl.experiments._curves import read_curves
from snntorch_ecl.models import load_ann
from snntorch_ecl.settings import TrainConfig
from snntorch_ecl.training._lightning import AtomicCheckpoints, Classifier, Data

from ..helpers.runs import CLASSES, experiment, image_folder, python


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run_training(experiment(root), folder, progress=False)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_ann(folder / "ann.safetensors").ann.state_dict()


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


# ------------------------------------------------------------------------------------- files


def test_the_run_leaves_settings_checkpoints_logs_and_the_network(root: Path, whole: Path) -> None:
    checkpoint = load_ann(whole / "ann.safetensors")
    assert checkpoint.config == experiment(root)
    assert checkpoint.classes == CLASSES
    assert checkpoint.figures["versions"]["torch"] == torch.__version__
    assert json.loads((whole / "config.json").read_text())["config"] == experiment(root).to_dict()
    assert {p.name for p in whole.glob("*.ckpt")} == {"last.ckpt", "best.ckpt"}
    assert list(whole.glob("tensorboard/version_0/events*"))
    assert not list(whole.rglob("*.part"))
    training = json.loads((whole / "training.json").read_text())
    assert training["config"] == experiment(root).to_dict()
    assert training["versions"]["torch"] == torch.__version__
    figures = training["figures"]
    assert [len(figures[name]) for name in ("loss", "accuracy")] == [3, 3]
    assert (whole / "training.svg").stat().st_size > 1000


def test_the_last_accuracy_of_the_curve_is_that_of_the_network(root: Path, whole: Path) -> None:
    split, _ = load_data(experiment(root).data)
    ann = load_ann(whole / "ann.safetensors").ann
    right = sum(int(ann(image[None]).argmax() == label) for image, label in split.test)
    assert read_curves(whole).accuracy[-1] == pytest.approx(right / len(split.test))


def test_of_an_epoch_that_was_run_twice_the_later_figures_count(tmp_path: Path) -> None:
    for version, accuracy in ((2, 0.1), (9, 0.2), (10, 0.3)):
        folder = tmp_path / "logs" / f"version_{version}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(f"epoch,accuracy,loss_epoch\n0,{accuracy},\n0,,4.0\n")
    assert read_curves(tmp_path).accuracy == (0.3,)


def test_a_folder_without_logs_has_no_curves(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no logs of a training"):
        read_curves(tmp_path)


def test_the_threshold_of_every_layer_is_logged_each_epoch(whole: Path) -> None:
    ann = load_ann(whole / "ann.safetensors").ann
    clips = {n: m for n, m in ann.named_modules() if isinstance(m, ThresholdClip)}
    with (whole / "logs" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name, clip in clips.items():
        logged = [float(row[f"threshold/{name}"]) for row in rows if row[f"threshold/{name}"]]
        assert len(logged) == 3
        assert logged[-1] == pytest.approx(clip.threshold.item(), rel=1e-5)


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
    killed = python(
        """
        import os, signal, sys
        from pathlib import Path
        import torch
        from tests.helpers.runs import experiment
        from snntorch_ecl.experiments import run_training

        folder, root, whole_save, written = Path(sys.argv[1]), Path(sys.argv[2]), torch.save, []

        def save(checkpoint, file, *rest, **options):
            if checkpoint["epoch"] == 1:  # half of it, then the end
                file.write(b"PK" + bytes(100_000)); file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            whole_save(checkpoint, file, *rest, **options)

        torch.save = save
        run_training(experiment(root), folder / "run", progress=False)
        """,
        tmp_path,
        root,
    )
    assert killed.returncode == -9, killed.stderr
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


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_image_is_one_line_whoever_reads_it(tmp_path: Path, workers: int) -> None:
    root = image_folder(tmp_path / "images")
    broken = root / "train" / "red" / "03.png"
    broken.write_bytes(b"no image")
    settings = experiment(root, train={"workers": workers})
    with pytest.raises(DataError) as error:
        run_training(settings, tmp_path / "run", progress=False)
    assert str(error.value).startswith(f"{broken} is not a readable image")
    assert "Traceback" not in str(error.value)


def test_a_network_for_other_images_is_named_before_it_trains(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be run on these images \[3, 8, 8\]"):
        run_training(experiment(root, model="digit_net"), tmp_path, progress=False)


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


# ------------------------------------------------------------------------------ beyond the paper


@pytest.mark.parametrize("per_channel", [False, True])
def test_training_can_start_from_a_relu_network(
    root: Path, tmp_path: Path, per_channel: bool
) -> None:
    relu = experiment(root, relu=True, train={"epochs": 1})
    source = run_training(relu, tmp_path / "relu", progress=False)
    assert not any(isinstance(m, ThresholdClip) for m in load_ann(source).ann.modules())
    still = {"epochs": 1, "lr": 1e-12, "weight_decay": 0.0, "threshold_decay": 0.0}
    clipped = experiment(root, weights=str(source), per_channel=per_channel, train=still)
    run_training(clipped, tmp_path / "clipped", progress=False)
    before, after = weights(tmp_path / "relu"), weights(tmp_path / "clipped")
    parameters = [name for name, _ in models.build("resnet20", classes=2).named_parameters()]
    for name in parameters:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-9)
    clips = [
        m
        for m in load_ann(tmp_path / "clipped" / "ann.safetensors").ann.modules()
        if isinstance(m, ThresholdClip)
    ]
    assert all(m.is_set and m.threshold.ndim == per_channel for m in clips)


# ------------------------------------------------------------------------------------ processes

DDP = """
    import sys
    from pathlib import Path
    import torch
    from torch import nn
    from torch.utils.data import TensorDataset
    import snntorch_ecl as ecl
    from snntorch_ecl.settings import TrainConfig
    from snntorch_ecl.training import fit

    folder, devices = Path(sys.argv[1]), int(sys.argv[2])
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    data = TensorDataset(torch.randn(60, 1, 8, 8), torch.randint(0, 3, (60,)))
    ann = fit(ecl.prepare(net, levels=4), data, TrainConfig(epochs=3, batch_size=8, lr=0.05),
              validation=data, output_dir=folder / f"{devices}", classes=3, accelerator="cpu",
              devices=devices, progress=False)
    torch.save(ann.state_dict(), folder / f"{devices}.pt")
"""


def test_two_processes_learn_what_one_learns_with_the_same_global_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["script", str(tmp_path), "1"])
    exec(textwrap.dedent(DDP), {})
    done = python(DDP, tmp_path, 2, processes=2)
    assert done.returncode == 0, done.stderr[-2000:]
    curves = [_curves(tmp_path / name / "logs" / "version_0" / "metrics.csv") for name in "12"]
    assert len(curves[0]["loss_epoch"]) == 3
    assert curves[0]["loss_epoch"][0] > curves[0]["loss_epoch"][-1]
    for name in ("loss_epoch", "loss_step", "accuracy", "threshold/1"):
        assert curves[1][name] == pytest.approx(curves[0][name], rel=1e-4), name
    one, two = (torch.load(tmp_path / f"{n}.pt") for n in (1, 2))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)


def _curves(file: Path) -> dict[str, list[float]]:
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


def test_a_batch_that_cannot_be_shared_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Data(TensorDataset(torch.zeros(9, 1)), None, TrainConfig(batch_size=9))
    monkeypatch.setattr(Data, "_place", lambda self: Place(0, 2))
    with pytest.raises(ConfigError, match="counts all processes: 9 cannot be split over 2"):
        data.train_dataloader()


def test_curves_of_a_killed_run_keep_their_epochs(tmp_path: Path) -> None:
    """Epoch 1 was never written, and the last line has no end."""
    for version, text in enumerate(("0,0.5\n", "2,0.7\n3,0.9")):
        folder = tmp_path / "logs" / f"version_{version}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(f"epoch,accuracy\n{text}")
    (tmp_path / "logs" / "version_2").mkdir()
    (tmp_path / "logs" / "version_2" / "metrics.csv").write_text("lr,step\n0.1,0\n")
    curves = read_curves(tmp_path)
    assert curves.accuracy == (0.5, None, 0.7)
    assert len(curves.plot().axes[1].lines[0].get_xdata()) == 3
