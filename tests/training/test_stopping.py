"""Ctrl-C and SIGTERM in a training: a checkpoint of that step, then the signal goes on."""

from __future__ import annotations

import contextlib
import itertools
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import snntorch_ecl as ecl
from snntorch_ecl.settings import TrainConfig
from snntorch_ecl.training import fit
from snntorch_ecl.training._lightning import Classifier

STEPS = 4  # in each of the two epochs


class Noisy(TensorDataset):
    """Images that vary, as with augmentation."""

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        image, label = super().__getitem__(index)
        return image + 0.1 * torch.randn(image.shape), label


def data() -> Noisy:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (35,), generator=generator)
    return Noisy(torch.randn(35, 4, generator=generator), labels)


def train(folder: Path | None, *, resume: bool = False, workers: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(1)
    layers = (nn.Linear(4, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 3))
    recipe = TrainConfig(epochs=2, batch_size=8, lr=0.05, workers=workers)
    return fit(
        ecl.prepare(nn.Sequential(*layers)), data(), recipe, validation=data(), output_dir=folder,
        resume=resume, classes=3, accelerator="cpu", progress=folder is not None,
    ).state_dict()  # fmt: skip


@contextlib.contextmanager
def signal_in_step(number: int, *steps: int) -> Iterator[None]:
    """Send a signal amid some training steps, counted from 0."""
    step, count = Classifier.training_step, itertools.count()

    def stepping(self: Classifier, batch: Any, index: int) -> Tensor:
        if next(count) in steps:
            signal.raise_signal(number)
        return step(self, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "training_step", stepping)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of a training that nothing interrupted."""
    return train(tmp_path_factory.mktemp("whole"))


def assert_goes_on(folder: Path, whole: dict[str, Tensor], step: int, workers: int = 0) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), signal_in_step(signal.SIGINT, step):
        train(folder, workers=workers)
    assert signal.getsignal(signal.SIGINT) is handler
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == step + 1
    torch.manual_seed(99)  # whatever the new process has done before
    resumed = train(folder, resume=True, workers=workers)
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


@pytest.mark.parametrize("step", [1, STEPS - 1, STEPS + 2])  # within, at and after an epoch's end
def test_a_run_goes_on_from_the_very_step(
    whole: dict[str, Tensor], tmp_path: Path, step: int
) -> None:
    assert_goes_on(tmp_path, whole, step)


@pytest.mark.slow
@pytest.mark.parametrize("step", [*range(2 * STEPS)])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_from_any_step(tmp_path: Path, step: int, workers: int) -> None:
    # Loader processes draw from the random numbers of dropout: weights depend on their number.
    whole = train(tmp_path / "whole", workers=workers)
    assert_goes_on(tmp_path / "stopped", whole, step, workers)


class OwnError(Exception):
    """What a caller's own handler raises."""


def test_sigterm_is_left_to_the_callers_handler_after_the_checkpoint(tmp_path: Path) -> None:
    def handler(*_: object) -> None:
        assert (tmp_path / "last.ckpt").exists()
        raise OwnError

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(OwnError), signal_in_step(signal.SIGTERM, 1):
            train(tmp_path)
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_handler_that_does_nothing_does_not_make_a_run_look_finished(
    tmp_path: Path, number: int
) -> None:
    before = signal.signal(number, lambda *_: None)
    try:
        with pytest.raises(KeyboardInterrupt), signal_in_step(number, 1):
            train(tmp_path)
    finally:
        signal.signal(number, before)


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        signal_in_step(signal.SIGINT, 1),
        signal_in_step(signal.SIGINT, 1),
    ):
        train(tmp_path)
    assert not (tmp_path / "last.ckpt").exists()


def test_without_a_folder_nothing_waits() -> None:
    with pytest.raises(KeyboardInterrupt), signal_in_step(signal.SIGINT, 1):
        train(None)


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with signal_in_step(signal.SIGINT):
            train(None)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
