"""A training run: what it leaves behind, where it starts, and how it is spread over processes."""

import csv
import json
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

from snntorch_ecl import ThresholdClip, models
from snntorch_ecl._util.processes import Place
from snntorch_ecl.errors import CheckpointError, ConfigError, DataError, InputError
from snntorch_ecl.experiments import load_data, run_training
from snntorch_ecl.experiments._curves import read_curves
from snntorch_ecl.models import load_ann
from snntorch_ecl.settings import TrainConfig
from snntorch_ecl.training._lightning import Data

from ..helpers.runs import CLASSES, SMALL, experiment, image_folder, weights

pytestmark = pytest.mark.usefixtures("quick_pictures")

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


# ------------------------------------------------------------------------------ beyond the paper


@pytest.fixture(scope="module")
def relu(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a network that was trained with ReLUs."""
    folder = tmp_path_factory.mktemp("relu")
    run_training(experiment(root, relu=True, train={"epochs": 1}), folder, progress=False)
    return folder


@pytest.mark.parametrize("per_channel", [False, True])
def test_training_can_start_from_a_relu_network(
    root: Path, relu: Path, tmp_path: Path, per_channel: bool
) -> None:
    source = relu / "ann.safetensors"
    assert not any(isinstance(m, ThresholdClip) for m in load_ann(source).ann.modules())
    still = {"epochs": 1, "lr": 1e-12, "weight_decay": 0.0, "threshold_decay": 0.0}
    clipped = experiment(root, weights=str(source), per_channel=per_channel, train=still)
    run_training(clipped, tmp_path / "clipped", progress=False)
    before, after = weights(relu), weights(tmp_path / "clipped")
    parameters = [name for name, _ in models.build(SMALL, classes=2).named_parameters()]
    for name in parameters:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-9)
    clips = [
        m
        for m in load_ann(tmp_path / "clipped" / "ann.safetensors").ann.modules()
        if isinstance(m, ThresholdClip)
    ]
    assert all(m.is_set and m.threshold.ndim == per_channel for m in clips)


def test_a_teacher_has_the_share_that_is_given(root: Path, whole: Path, tmp_path: Path) -> None:
    teacher = str(whole / "ann.safetensors")
    for name, share in (("none", 0.0), ("all", 1.0)):
        learns = experiment(root, teacher=teacher, distillation=share)
        run_training(learns, tmp_path / name, progress=False)
    alone = weights(whole)
    same, other = weights(tmp_path / "none"), weights(tmp_path / "all")
    assert all(torch.equal(value, same[name]) for name, value in alone.items())
    assert not any(
        torch.equal(value, other[name]) for name, value in alone.items() if "weight" in name
    )
    assert load_ann(tmp_path / "all" / "ann.safetensors").config.teacher == teacher


def test_a_teacher_for_other_images_is_refused(root: Path, tmp_path: Path) -> None:
    learns = experiment(root, teacher="digitnet-digits-l4")
    with pytest.raises(CheckpointError, match=r"the teacher digitnet-digits-l4 .* classes"):
        run_training(learns, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "ann.safetensors").exists()


def test_a_share_outside_its_range_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"share of a teacher must lie in \[0, 1\]; got 1.5"):
        experiment(root, teacher="digitnet-digits-l4", distillation=1.5)
    with pytest.raises(ConfigError, match="no effect without a teacher"):
        experiment(root, distillation=0.5)


# ------------------------------------------------------------------------------------ processes


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
