"""Overflow, early exit and thresholds: what is decided over a whole batch."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

import snntorch_ecl as ecl
from snntorch_ecl.errors import StateError

from ..helpers.distances import images, seeded
from ..helpers.parts import wired

# -------------------------------------------------------------------------------- state and exits


def overflowing() -> ecl.SpikingNetwork:
    net = nn.Sequential(nn.Linear(4, 6), ecl.ThresholdClip(4, 1.0), nn.Linear(6, 3)).eval()
    snn = ecl.convert(net)
    with torch.no_grad():
        snn.net.get_submodule("0").weight.mul_(1e38)
    return snn


@pytest.mark.parametrize(
    "call",
    [
        lambda snn, x: snn(x, num_steps=4),
        lambda snn, x: snn.predict(x, max_steps=4),
        lambda snn, x: snn.step(x),
    ],
)
def test_an_overflow_is_an_error_however_it_is_run(call: Any) -> None:
    with pytest.raises(StateError, match="the membrane of 1 is NaN or infinite"):
        call(overflowing(), torch.full((2, 4), 1e3))


def test_images_whose_rows_are_many_exit_one_by_one() -> None:
    """Frames or tokens merged into the batch: a neuron has several rows for each image."""

    def forward(m: Any, x: Tensor) -> Tensor:
        rows = m.clip(m.a(x.reshape(-1, 4)))
        return m.b(rows.view(x.shape[0], -1))

    def build() -> nn.Module:
        parts = {"a": nn.Linear(4, 6), "b": nn.Linear(30, 3), "clip": ecl.ThresholdClip(4, 1.0)}
        return wired(forward, **parts)

    net, x = seeded(build), images(9, 5, 4)
    with torch.no_grad():
        net.b.weight.mul_(8)  # sure of itself
    snn = ecl.convert(net)
    found = snn.predict(x, max_steps=8, confidence=0.9)
    assert len(found.steps.unique()) > 1
    with torch.no_grad():
        logits = snn.logits_over_time(x, num_steps=8)
    for image, (steps, choice) in enumerate(zip(found.steps, found.classes, strict=True)):
        assert int(logits[int(steps) - 1, image].argmax()) == int(choice)


# -------------------------------------------------------------------------------------- processes


def test_thresholds_do_not_start_from_a_share_of_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ann = ecl.prepare(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))).train()
    started = copy.deepcopy(ann)
    started(images(8, 4))
    monkeypatch.setattr("snntorch_ecl.nn._threshold_clip.world_size", lambda: 2)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(StateError, match="Run one batch through the prepared network"):
            DistributedDataParallel(ann)(images(8, 4))
        DistributedDataParallel(started)(images(8, 4)).sum().backward()
    finally:
        distributed.destroy_process_group()


def test_a_batch_without_rows_starts_nothing() -> None:
    clip = ecl.ThresholdClip(4).train()
    assert clip(torch.zeros(0, 3)).shape == (0, 3)
    assert not clip.is_set
