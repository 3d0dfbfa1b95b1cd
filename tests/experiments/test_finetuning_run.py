"""Fine-tuning the converted network: it learns, goes on, and leaves the ANN alone."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn
from torch.utils.data import Subset

import snntorch_ecl as ecl
from snntorch_ecl.errors import CheckpointError, ConfigError
from snntorch_ecl.experiments import (
    MeasureConfig,
    Split,
    TuneConfig,
    _data,
    digits,
    run_tuning,
)
from snntorch_ecl.experiments._finetuning_run import Surrogate, _teacher
from snntorch_ecl.models import load_ann, load_pretrained, save_ann
from snntorch_ecl.settings import ExperimentConfig, TrainConfig, from_dict, load_config
from snntorch_ecl.training._lightning import Classifier

from ..helpers.runs import NORMS

pytestmark = pytest.mark.usefixtures("quick_pictures")


def config(checkpoint: Path, **train: Any) -> TuneConfig:
    recipe = {"epochs": 2, "lr": 0.005, "batch_size": 8, **train}
    return TuneConfig(
        measure=MeasureConfig(checkpoint=str(checkpoint), steps=(1, 2)),
        train=TrainConfig(**recipe),
    )


@pytest.fixture(scope="module")
def tuned(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., dict[str, torch.Tensor]]:
    """The weights after one epoch with some settings; each fine-tuning is made once."""

    @functools.cache
    def tune(**settings: Any) -> dict[str, torch.Tensor]:
        folder = tmp_path_factory.mktemp("tuned")
        run_tuning(replace(config(checkpoint, epochs=1), **settings), folder, progress=False)
        return state(folder, checkpoint)

    return tune


@pytest.fixture(scope="module")
def finished(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fine-tuning that nothing interrupted, and that left its start alone."""
    folder, before = tmp_path_factory.mktemp("finished"), checkpoint.read_bytes()
    assert run_tuning(config(checkpoint), folder, progress=False).num_steps == 2
    assert checkpoint.read_bytes() == before
    return folder


def state(folder: Path, checkpoint: Path) -> dict[str, torch.Tensor]:
    return ecl.load(folder / "snn.safetensors", load_ann(checkpoint).ann).state_dict()


def test_weights_learn_while_thresholds_and_the_checkpoint_stay(
    checkpoint: Path, finished: Path
) -> None:
    start, tuned = ecl.convert(load_ann(checkpoint).ann).state_dict(), state(finished, checkpoint)
    moved = {name for name, value in start.items() if not torch.equal(value, tuned[name])}
    assert {name.rpartition(".")[2] for name in moved} == {"weight", "bias"}
    # Every layer: the gradient reaches through all spikes, back to the first convolution.
    assert moved >= {name for name, _ in ecl.convert(load_ann(checkpoint).ann).named_parameters()}
    assert load_config(TuneConfig, finished / "tuning.json") == config(checkpoint)


def test_an_interrupted_tuning_ends_with_the_same_weights(
    checkpoint: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(self: Classifier, batch: Any, index: int) -> Any:
        if self.current_epoch == 1:
            raise RuntimeError("power cut")
        return step(self, batch, index)

    step = Classifier.training_step
    monkeypatch.setattr(Classifier, "training_step", stops)
    with pytest.raises(RuntimeError, match="power cut"):
        run_tuning(config(checkpoint), tmp_path / "cut", progress=False)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"already holds best\.ckpt"):
        run_tuning(config(checkpoint), tmp_path / "cut", progress=False)
    run_tuning(config(checkpoint), tmp_path / "cut", resume=True, progress=False)
    # The second slice began where the first had stopped: it has no epoch 0.
    rows = (tmp_path / "cut" / "logs" / "version_1" / "metrics.csv").read_text().splitlines()
    epoch = rows[0].split(",").index("epoch")
    assert {row.split(",")[epoch] for row in rows[1:]} <= {"1", ""}
    whole, cut = (state(folder, checkpoint) for folder in (finished, tmp_path / "cut"))
    for name, value in whole.items():
        assert torch.equal(cut[name], value), name


def test_batch_norms_learn_too(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = []

    def step(self: Classifier, batch: Any, index: int) -> Any:
        loss = plain(self, batch, index)
        norms = [m for m in self.model.modules() if isinstance(m, nn.BatchNorm2d)]
        moved.extend(float(norm.running_mean.abs().max()) for norm in norms)  # type: ignore[union-attr]
        return loss

    plain = Classifier.training_step
    monkeypatch.setattr(Classifier, "training_step", step)
    run_tuning(config(checkpoint, epochs=1), tmp_path, progress=False)
    count = len([m for m in load_ann(checkpoint).ann.modules() if isinstance(m, nn.BatchNorm2d)])
    assert count == NORMS
    assert moved[:count] != moved[count : 2 * count]  # from the first step to the second


@pytest.mark.parametrize(
    "surrogate",
    [
        "triangular",
        *(pytest.param(s, marks=pytest.mark.slow) for s in get_args(Surrogate)[1:]),
    ],
)
def test_one_epoch_repairs_what_one_step_loses(
    surrogate: Surrogate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On real digits: converted, one step is right on four of five, which the zoo states."""
    train, test = digits()
    some = Split(Subset(train, range(0, 4000, 10)), Subset(test, range(0, 1000, 4)))
    monkeypatch.setattr(_data, "digits", lambda **options: some)
    name = "digitnet-digits-l4"
    stated = load_pretrained(name).figures["accuracy"]["1"]
    with resources.as_file(
        resources.files(ecl.models) / "pretrained" / f"{name}.safetensors"
    ) as file:
        settings = TuneConfig(
            measure=MeasureConfig(checkpoint=str(file), steps=(1,)),
            num_steps=1,
            surrogate=surrogate,
            train=TrainConfig(epochs=1, batch_size=32, lr=0.05, gradient_clip=1.0),
        )
        tuned = run_tuning(settings, tmp_path, progress=False).accuracy[0]
    assert stated < 0.85 < 0.9 < tuned


def test_it_trains_at_the_steps_that_are_asked_for(
    tuned: Callable[..., dict[str, torch.Tensor]],
) -> None:
    one, two = tuned(num_steps=1), tuned()
    assert not torch.equal(one["net.fc.weight"], two["net.fc.weight"])


def test_the_answers_of_the_ann_are_learned_as_far_as_asked(
    checkpoint: Path, tuned: Callable[..., dict[str, torch.Tensor]]
) -> None:
    some, none = tuned(), tuned(distillation=0.0)
    assert config(checkpoint).distillation > 0
    assert not torch.equal(some["net.fc.weight"], none["net.fc.weight"])
    with pytest.raises(ConfigError, match=r"share of a teacher must lie in \[0, 1\]; got 1.5"):
        replace(config(checkpoint), distillation=1.5)


def test_one_setting_keeps_the_other_defaults() -> None:
    tuned = from_dict(TuneConfig, {"measure": {"checkpoint": "a"}, "train": {"epochs": 1}})
    assert (tuned.train.lr, tuned.train.epochs) == (0.05, 1)


def test_no_steps_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_steps must be an integer >= 1; got 0"):
        TuneConfig(measure=MeasureConfig(checkpoint="a"), num_steps=0)


def test_a_network_to_measure_is_no_start() -> None:
    with pytest.raises(ConfigError, match=r"tuned has no effect in a fine-tuning; got 'b'.* start"):
        TuneConfig(measure=MeasureConfig(checkpoint="a", tuned="b"))


def test_the_gradient_of_a_spike_is_chosen(
    checkpoint: Path, tuned: Callable[..., dict[str, torch.Tensor]]
) -> None:
    default, *others = get_args(Surrogate)
    assert config(checkpoint).surrogate == default
    networks = [tuned(), *(tuned(surrogate=name) for name in others)]
    weights = [network["net.fc.weight"] for network in networks]
    for one, other in itertools.combinations(weights, 2):
        assert not torch.equal(one, other)
    with pytest.raises(ConfigError, match="one of triangular, rectangular, atan; got 'sine'"):
        from_dict(TuneConfig, {"measure": {"checkpoint": "a"}, "surrogate": "sine"})


def test_other_networks_teach_as_well(
    checkpoint: Path, tmp_path: Path, tuned: Callable[..., dict[str, torch.Tensor]]
) -> None:
    other = load_ann(checkpoint)
    with torch.no_grad():
        other.ann.fc.bias.add_(torch.tensor([4.0, -4.0]))  # type: ignore[union-attr, operator]
    path = save_ann(tmp_path / "b.safetensors", other.ann, other.config, classes=other.classes)
    twin = save_ann(tmp_path / "a.safetensors", *_parts(checkpoint), classes=other.classes)
    # Its ANN twice is its ANN; one that leans to a class is another teacher.
    alone = tuned()["net.fc.weight"]
    assert torch.equal(alone, tuned(teachers=(str(twin),))["net.fc.weight"])
    settings = replace(config(checkpoint, epochs=1), teachers=(str(path),))
    run_tuning(settings, tmp_path / "other", progress=False)
    assert not torch.equal(alone, state(tmp_path / "other", checkpoint)["net.fc.weight"])
    assert load_config(TuneConfig, tmp_path / "other" / "tuning.json").teachers == (str(path),)


def _parts(checkpoint: Path) -> tuple[nn.Module, ExperimentConfig]:
    own = load_ann(checkpoint)
    return own.ann, own.config


def test_a_teacher_of_other_images_or_classes_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    ann, own = _parts(checkpoint)
    brighter = replace(own, data=replace(own.data, mean=(0.1, 0.2, 0.3)))
    path = tmp_path / "other.safetensors"
    for settings, classes, message in (
        (brighter, ("blue", "red"), r"was trained with data\.mean \(0\.1, 0\.2, 0\.3\), "),
        (own, ("red", "blue"), r"was trained with classes \('red', 'blue'\), "),
    ):
        save_ann(path, ann, settings, classes=classes)
        tuned = replace(config(checkpoint), teachers=(str(path),))
        with pytest.raises(CheckpointError, match=message):
            run_tuning(tuned, tmp_path / "run", progress=False)
    with pytest.raises(CheckpointError, match="there is no file"):
        run_tuning(replace(config(checkpoint), teachers=("no",)), tmp_path / "run", progress=False)
    with pytest.raises(ConfigError, match="teachers have no effect with distillation=0"):
        replace(config(checkpoint), teachers=(str(path),), distillation=0.0)


def test_a_shipped_spiking_network_is_no_start() -> None:
    with pytest.raises(ConfigError, match="ships with its batch norms folded"):
        TuneConfig(
            measure=MeasureConfig(pretrained="digitnet-digits-l4"), start="digitnet-digits-l4-t2"
        )


def test_a_teacher_may_be_a_network_that_ships() -> None:
    own = load_pretrained("digitnet-digits-l4")
    measured = MeasureConfig(pretrained="digitnet-digits-l4")
    teacher = _teacher(TuneConfig(measure=measured, teachers=("digitnet-digits-l4",)), own)
    images = torch.rand(2, 1, 28, 28)
    assert torch.allclose(teacher.model(images), own.ann(images), atol=1e-6)
