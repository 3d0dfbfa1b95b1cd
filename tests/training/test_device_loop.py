"""The bare loop: what a step computes, that the host reads nothing in it, and how it goes on."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import snntorch_ecl as ecl
from snntorch_ecl.errors import StateError
from snntorch_ecl.settings import TrainConfig
from snntorch_ecl.training import DeviceImages, Teacher
from snntorch_ecl.training._device_loop import DeviceLoop
from snntorch_ecl.training._time_budget import _planned, losses_of_epoch, train_within
from tests.helpers.compilers import lossy


def images(count: int = 32) -> DeviceImages:
    torch.manual_seed(0)
    pixels = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8)
    return DeviceImages(pixels, torch.arange(count) % 2, crop_padding=1)


def prepared() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    ann = ecl.prepare(nn.Sequential(*layers))
    for clip in ann.modules():
        if isinstance(clip, ecl.ThresholdClip):
            clip.threshold = 1.0
    return ann


def config(**settings: Any) -> TrainConfig:
    return TrainConfig(**{"batch_size": 16, "lr": 0.01, **settings})


def test_a_step_is_torchs_own_sgd_with_clipped_gradients_and_a_teacher() -> None:
    ann, data = prepared(), images()
    twin, teacher = copy.deepcopy(ann).train(), Teacher(prepared(), share=0.3)
    settings = config(gradient_clip=0.1, label_smoothing=0.1, threshold_decay=0.0)
    loop = DeviceLoop(ann.train(), data, settings, teacher=teacher)
    batch, labels = next(data.epoch(0, 16))
    found = loop.step(batch, labels)

    thresholds = [p for name, p in twin.named_parameters() if name.endswith("raw_threshold")]
    weights = [p for name, p in twin.named_parameters() if not name.endswith("raw_threshold")]
    groups = [{"params": weights, "weight_decay": 5e-4}, {"params": thresholds}]
    optimiser = torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True)
    logits = twin(batch)
    wanted = nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    loss = 0.7 * wanted + 0.3 * teacher.distance(batch, logits)
    loss.backward()
    nn.utils.clip_grad_norm_(twin.parameters(), 0.1)
    optimiser.step()
    torch.testing.assert_close(found, loss.detach())
    for own, other in zip(ann.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(own, other)


def test_the_rate_rises_in_the_warm_up_and_falls_along_a_cosine() -> None:
    loop = DeviceLoop(prepared(), images(), config(lr=0.4), warmup=4)
    assert loop.rate(0.0) == pytest.approx(0.1)
    loop.epoch(0, 0.0, 0.0)
    loop.epoch(1, 0.0, 0.0)
    found = [loop.rate(progress) for progress in (0.0, 1 / 3, 0.5, 1.0)]
    assert found == pytest.approx([0.4, 0.3, 0.2, 0.0])


def test_the_host_reads_no_value_in_a_step() -> None:
    ann, data, mode = prepared(), images(), FakeTensorMode()
    loop = DeviceLoop(ann.train(), data, config(gradient_clip=1.0), teacher=Teacher(prepared()))
    for network in (loop.model, loop.teacher):
        assert network is not None
        _fake(network, mode)
    with mode:
        loop.optimiser.param_groups[0]["params"] = list(loop.model.parameters())
        loop.optimiser.param_groups[1]["params"] = []
        with pytest.raises(Exception, match="scalar"):
            bool(torch.ones(()))  # what a read of a value does here
        for _ in range(2):
            loss = loop.step(torch.empty(16, 3, 8, 8), torch.zeros(16, dtype=torch.long))
    assert loss.shape == ()


def _fake(network: nn.Module, mode: FakeTensorMode) -> None:
    """Give a network tensors without values."""
    for module in network.modules():
        for name, own in module.named_parameters(recurse=False):
            value = nn.Parameter(mode.from_tensor(own.detach()), own.requires_grad)
            setattr(module, name, value)
        for name, own in module.named_buffers(recurse=False):
            setattr(module, name, mode.from_tensor(own))


def test_where_compiling_fails_the_epoch_is_trained_in_plain_code() -> None:
    plain = DeviceLoop(prepared(), images(), config())
    wanted = losses_of_epoch(plain, 0, 0.0, 1.0)
    loop = DeviceLoop(prepared(), images(), config())

    def fails(batch: Tensor) -> Tensor:
        if loop.steps:
            raise NotImplementedError("no such kernel")
        logits: Tensor = loop.model(batch)
        return logits

    loop._compiled = fails
    with pytest.warns(UserWarning, match=r"plain code.*no such kernel"):
        found = losses_of_epoch(loop, 0, 0.0, 1.0)
    assert found == pytest.approx(wanted)
    assert not loop.compiles


def test_where_the_compiler_loses_gradients_training_goes_on_in_plain_code() -> None:
    plain = DeviceLoop(prepared(), images(), config())
    wanted = losses_of_epoch(plain, 0, 0.0, 1.0)
    loop = DeviceLoop(prepared(), images(), config())
    torch.compiler.reset()
    loop._compiled, loop._unchecked = torch.compile(loop.model.__call__, backend=lossy), True
    with pytest.warns(UserWarning, match=r"plain code: compiled by torch.* first is '0'"):
        found = losses_of_epoch(loop, 0, 0.0, 1.0)
    assert found == wanted
    assert (loop.same_gradients, loop.compiles) == (False, False)
    assert plain.same_gradients is None


def test_gradients_of_a_good_compiler_are_checked_once_and_it_is_used() -> None:
    plain = DeviceLoop(prepared(), images(), config())
    loop = DeviceLoop(prepared(), images(), config())
    torch.compiler.reset()
    loop._compiled, loop._unchecked = torch.compile(loop.model.__call__, backend="eager"), True
    assert losses_of_epoch(loop, 0, 0.0, 1.0) == losses_of_epoch(plain, 0, 0.0, 1.0)
    assert (loop.same_gradients, loop.compiles) == (True, True)


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path: Path) -> None:
    def trained(file: Path, loop: DeviceLoop) -> list[float]:
        curve = train_within(loop, file, seconds=1e9, epochs=4, save_every=0.0)
        return [point["loss"] for point in curve]

    class Killed(DeviceLoop):
        def epoch(self, number: int, begin: float, end: float) -> Tensor:
            if number == 2:
                raise KeyboardInterrupt
            return super().epoch(number, begin, end)

    whole = DeviceLoop(prepared(), images(), config())
    wanted = trained(tmp_path / "whole.ckpt", whole)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut.ckpt", Killed(prepared(), images(), config()))
    rest = DeviceLoop(prepared(), images(), config())
    assert trained(tmp_path / "cut.ckpt", rest) == pytest.approx(wanted)
    for own, other in zip(rest.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(own, other)


def test_an_epoch_that_diverges_is_taken_back_at_half_the_rate(tmp_path: Path) -> None:
    class Fragile(DeviceLoop):
        def epoch(self, number: int, begin: float, end: float) -> Tensor:
            losses = super().epoch(number, begin, end)
            return losses if self.lr < 0.004 else losses * math.nan

    loop = Fragile(prepared(), images(), config(lr=0.01))
    curve = train_within(loop, tmp_path / "last.ckpt", seconds=1e9, epochs=2)
    assert (loop.lr, [point["taken back"] for point in curve]) == (0.0025, [2, 2])
    hopeless = Fragile(prepared(), images(), config(lr=1.0))
    with pytest.raises(StateError, match=r"diverged again and again.*0\.03125 after 0 epochs"):
        train_within(hopeless, tmp_path / "other.ckpt", seconds=1e9, epochs=2)


def test_epochs_are_planned_from_the_time_that_is_left() -> None:
    assert _planned(50, 100.0, []) == 50
    assert _planned(50, 100.0, [9.0, 4.0, 4.0, 4.0]) == 25
    assert _planned(5, 100.0, [4.0]) == 5
    assert _planned(50, 3.0, [4.0]) == 1
    assert _planned(50, -1.0, []) == 1


def test_without_time_one_epoch_is_trained_and_the_cosine_ends(tmp_path: Path) -> None:
    loop = DeviceLoop(prepared(), images(), config())
    curve = train_within(loop, tmp_path / "last.ckpt", seconds=0.0, epochs=9)
    assert [point["rate"] for point in curve] == [0.0]
