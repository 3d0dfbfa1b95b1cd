"""Every verb on a GPU, beside the CPU where both can be compared.

Skipped where there is none. ``SNNTORCH_ECL_TEST_DEVICE=cpu`` runs the tests on the CPU, to see
that they themselves work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import hardware
from snntorch_ecl.experiments._bench_modes import build_subject, random_images
from snntorch_ecl.models import build
from snntorch_ecl.settings import TrainConfig
from snntorch_ecl.training import DeviceImages
from snntorch_ecl.training._device_loop import DeviceLoop
from snntorch_ecl.training._thresholds import start_thresholds

from .helpers.nets import BY_NAME

DEVICE = torch.device(os.environ.get("SNNTORCH_ECL_TEST_DEVICE", "cuda"))
REHEARSED = DEVICE.type == "cpu"
T = 4

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        DEVICE.type == "cuda" and not torch.cuda.is_available(), reason="needs a CUDA device"
    ),
]


class Subject:
    """A network of the size people use (a small one in a rehearsal), and images for it."""

    def __init__(self) -> None:
        name, size = ("digit_net", 28) if REHEARSED else ("resnet18", 32)
        made = build_subject(name, image_size=size, seed=0)
        self.model, self.ann = made.model, made.ann
        self.images = random_images(made.model, 8, size, seed=1)
        with torch.no_grad():
            self.labels = made.ann(self.images).argmax(1)
        self.there = self.images.to(DEVICE)
        self.data = [(self.there, self.labels.to(DEVICE))]

    def snn(self, dtype: torch.dtype = torch.float32) -> ecl.SpikingNetwork:
        return ecl.convert(self.ann).to(DEVICE, dtype).eval()


@pytest.fixture(scope="module")
def subject() -> Iterator[Subject]:
    """The CPU's part takes all cores: nothing else runs beside these tests."""
    threads = torch.get_num_threads()
    if not REHEARSED:
        torch.set_num_threads(os.cpu_count() or 1)
    yield Subject()
    torch.set_num_threads(threads)


def largest(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    error = (found.cpu().double() - wanted.cpu().double()).abs().max()
    return float(error / wanted.abs().max())


def test_in_float64_it_computes_what_the_cpu_does(subject: Subject) -> None:
    """In float32 a few spikes flip, as sums are taken in another order."""
    with torch.no_grad():
        wanted = ecl.convert(subject.ann).double()(subject.images.double(), num_steps=T)
        found = subject.snn(torch.float64)(subject.there.double(), num_steps=T)
    assert largest(found, wanted) < 1e-6


@torch.no_grad()
def test_all_ways_to_run_give_the_same(subject: Subject) -> None:
    snn, x = subject.snn(torch.float64), subject.there.double()
    wanted = snn(x, num_steps=T)
    snn.reset()
    assert largest(snn.logits_over_time(x, num_steps=T)[-1], wanted) < 1e-6
    assert largest(snn(x, num_steps=T, piece=1), wanted) < 1e-6
    assert largest(snn.forward_steps(x.expand(T, *x.shape)), wanted) < 1e-6
    snn.reset()
    assert largest(torch.stack([snn.step(x) for _ in range(T)]).mean(0), wanted) < 1e-6


@torch.no_grad()
def test_whole_numbers_are_those_of_the_cpu_bit_for_bit(subject: Subject) -> None:
    whole = hardware.to_integers(ecl.convert(subject.ann), [subject.images])
    wanted = whole(subject.images, num_steps=T)
    assert torch.equal(whole.to(DEVICE)(subject.there, num_steps=T).cpu(), wanted)


@torch.no_grad()
def test_the_host_reads_nothing_while_a_network_runs(subject: Subject) -> None:
    """But for one look at whether all was finite, at the end."""
    if REHEARSED:
        pytest.skip("a CPU has nothing to wait for")
    snn = subject.snn()
    snn(subject.there, num_steps=T)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchronizing") as waits:
            snn(subject.there, num_steps=T)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(waits) <= 2, [str(one.message) for one in waits]


def test_measurements_run(subject: Subject) -> None:
    snn, data = subject.snn(), subject.data
    found = ecl.evaluate(snn, data, num_steps=T, ann=subject.ann.to(DEVICE), progress=False)
    assert len(found.accuracy) == T
    departs = ecl.verify(snn, subject.ann, data, num_steps=T, progress=False)
    assert next(iter(departs.to_dict().values())) is not None
    assert ecl.energy(snn, data, num_steps=T, progress=False).table()
    assert 1 <= snn.predict(subject.there, max_steps=T).mean_steps <= T


@pytest.mark.parametrize("method", ["biases", "weights", "steps", "distill"])
@pytest.mark.filterwarnings("ignore")  # that a correction of a random network does not help
def test_corrections_bring_logits_closer_or_are_dropped(subject: Subject, method: Any) -> None:
    ann = ecl.calibrate(ecl.prepare(subject.model), subject.data, num_steps=T, progress=False)
    snn = ecl.convert(ann).to(DEVICE)
    better = ecl.compensate(snn, ann, subject.data, num_steps=T, method=method, progress=False)
    with torch.no_grad():
        wanted = ann.to(DEVICE)(subject.there)
        errors = [(net(subject.there, num_steps=T) - wanted).norm() for net in (better, snn)]
    assert float(errors[0]) <= 1.05 * float(errors[1])


@torch.no_grad()
def test_files_written_from_there_load(subject: Subject, tmp_path: Path) -> None:
    snn = subject.snn()
    path = snn.save(tmp_path / "snn.safetensors")
    again = ecl.load(path, subject.model).to(DEVICE).double().eval()
    x = subject.there.double()
    assert largest(again(x, num_steps=T), snn.double()(x, num_steps=T)) < 1e-6


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_has_the_same_classes_mostly(subject: Subject, dtype: torch.dtype) -> None:
    wanted = subject.snn()(subject.there, num_steps=T).argmax(1)
    found = subject.snn(dtype)(subject.there.to(dtype), num_steps=T).argmax(1)
    assert float((found == wanted).float().mean()) > 0.7  # 6 of 8


@torch.no_grad()
def test_channels_last_comes_out_as_it_went_in(subject: Subject) -> None:
    layouts = []
    snn = subject.snn().to(memory_format=torch.channels_last)
    for neuron in snn.neurons.values():
        neuron.register_forward_hook(lambda _, given, made: layouts.append((given[0], made)))
    snn(subject.there.contiguous(memory_format=torch.channels_last), num_steps=T)
    assert layouts
    for given, made in layouts:
        if made.ndim >= 4 and given.flatten(0, -4).is_contiguous(memory_format=torch.channels_last):
            assert made.flatten(0, -4).is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_compiled_runs_give_what_plain_ones_give(subject: Subject) -> None:
    """For several batches, and also what an earlier run returned stays what it was."""
    snn, plain = subject.snn(torch.float64).compile(progress=False), subject.snn(torch.float64)
    kept = []
    for count in (8, 4, 8, 1, 1):
        x = subject.there[:count].double() * (1 + len(kept) / 10)
        kept.append((snn(x, num_steps=T), plain(x, num_steps=T)))
    assert all(largest(found, wanted) < 1e-6 for found, wanted in kept)


@torch.no_grad()
def test_a_compiled_single_step_gives_what_a_plain_one_gives(subject: Subject) -> None:
    snn, plain = subject.snn(torch.float64).compile(progress=False), subject.snn(torch.float64)
    kept = []
    for factor in (1.0, 1.1, 0.9):
        x = subject.there.double() * factor
        kept.append((snn(x, num_steps=1), plain(x, num_steps=1)))
    assert all(largest(found, wanted) < 1e-6 for found, wanted in kept)


@torch.no_grad()
@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_networks_of_the_catalogue(name: str) -> None:
    net = BY_NAME[name]
    ann = net.prepared().double()
    inputs = [x.double() if x.is_floating_point() else x for x in net.inputs()]
    wanted = ecl.convert(ann)(*inputs, num_steps=T)
    found = ecl.convert(ann).to(DEVICE)(*(x.to(DEVICE) for x in inputs), num_steps=T)
    for one, other in zip(tensors(found), tensors(wanted), strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-6, atol=1e-6)


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return [x for one in parts for x in tensors(one)]


def small() -> nn.Module:
    """A network to rehearse the training with."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(1800, 10))


def test_a_compiled_training_learns() -> None:
    """Images that are patterns and noise: at least 90 % on other noise."""
    torch.manual_seed(0)
    net = small() if REHEARSED else build("resnet18", classes=10)
    patterns = torch.randint(256, (10, 3, 32, 32)).float()

    def drawn(count: int) -> DeviceImages:
        labels = torch.arange(count) % 10
        noisy = patterns[labels] * 0.75 + torch.rand(count, 3, 32, 32) * 63
        return DeviceImages(noisy.to(torch.uint8).to(DEVICE), labels.to(DEVICE))

    ann: Any = ecl.prepare(net, levels=4).to(DEVICE)
    data = drawn(2560)
    start_thresholds(ann, next(data.plain(256))[0])
    precision: Any = "32-true" if REHEARSED else "bf16-mixed"
    loop = DeviceLoop(
        ann, data, TrainConfig(batch_size=128, lr=0.05, precision=precision, compile=True)
    )
    for number in range(6):
        loop.epoch(number, number / 6, (number + 1) / 6)
    images, wanted = next(drawn(1000).plain(1000))
    snn = ecl.convert(ann.eval()).to(DEVICE)
    with torch.no_grad():
        for logits in (ann(images), snn(images, num_steps=T)):
            assert float((logits.argmax(1) == wanted).float().mean()) > 0.9
