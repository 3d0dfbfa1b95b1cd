"""What looks at a network takes little more memory than running its ANN on the batch."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import snntorch_ecl as ecl
from snntorch_ecl.measurement import exit_curve
from snntorch_ecl.network import _pieces

ROOM = 2**18


class Meter(TorchDispatchMode):
    """Bytes of all tensors that are made and still alive, and the most there were at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.alive: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, Tensor):
                self.note(value.untyped_storage())
        return made

    def note(self, storage: Any) -> None:
        key = storage._cdata
        if key in self.alive:
            return
        self.alive[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.forget, key)

    def forget(self, key: int) -> None:
        self.now -= self.alive.pop(key)


@contextmanager
def measured() -> Iterator[Meter]:
    meter = Meter()
    with torch.no_grad(), meter:
        yield meter


@pytest.fixture(scope="module")
def relu() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    ).eval()


@pytest.fixture(scope="module")
def ann(relu: nn.Module) -> nn.Module:
    ann = ecl.prepare(relu)
    ann.train()(torch.rand(2, 3, 8, 8))
    return ann.eval()


Verb = Callable[[nn.Module, nn.Module, ecl.SpikingNetwork, Any, int], Any]
QUIET: dict[str, Any] = {"progress": False}
VERBS: dict[str, Verb] = {
    "evaluate": lambda relu, ann, snn, data, t: ecl.evaluate(
        snn, data, num_steps=t, ann=ann, **QUIET
    ),
    "verify": lambda relu, ann, snn, data, t: ecl.verify(snn, ann, data, num_steps=t, **QUIET),
    "energy": lambda relu, ann, snn, data, t: ecl.energy(snn, data, num_steps=t, **QUIET),
    "exit_curve": lambda relu, ann, snn, data, t: exit_curve(snn, data, max_steps=t, **QUIET),
    "summary": lambda relu, ann, snn, data, t: snn.summary(data[0][0]),
    "calibrate": lambda relu, ann, snn, data, t: ecl.calibrate(ecl.prepare(relu), data, **QUIET),
    **{
        f"compensate {method}": lambda relu, ann, snn, data, t, method=method: ecl.compensate(
            snn, relu, data, num_steps=t, method=method, **QUIET
        )
        for method in ("weights", "biases", "steps")
    },
}


@pytest.mark.filterwarnings("ignore:compensate")  # so few images are as close as they can be
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("batch", "steps"),
    [(64, 8), *(pytest.param(*cell, marks=pytest.mark.slow) for cell in [(16, 32), (256, 4)])],
)
def test_memory_grows_neither_with_the_steps_nor_with_the_batch(
    verb: str,
    batch: int,
    steps: int,
    relu: nn.Module,
    ann: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # 4 KiB for the largest tensor of an image: cut into groups of 8 to 32 images.
    monkeypatch.setattr(_pieces, "_ROOM_ON_CPU", ROOM)
    monkeypatch.setattr("snntorch_ecl.conversion._calibrate._COUNTED_AT_ONCE", ROOM // 40)
    monkeypatch.setattr("snntorch_ecl._util.shelf._IN_MEMORY", ROOM)
    snn = ecl.convert(ann)
    images = torch.rand(batch, 3, 8, 8)
    data = [(images, torch.arange(batch) % 10)]
    with measured() as bare:
        ann(images)
    with measured() as looked_at:
        VERBS[verb](relu, ann, snn, data, steps)
    # A neuron in a group holds current, spikes, membrane and count, and so does what counts.
    assert looked_at.peak <= bare.peak + 8 * ROOM


def test_a_plain_run_keeps_one_state_for_each_image_whatever_the_steps(
    ann: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pieces, "_ROOM_ON_CPU", ROOM)
    snn, images = ecl.convert(ann), torch.rand(64, 3, 8, 8)
    peaks = []
    for steps in (8, 64):
        snn.reset()
        with measured() as meter:
            snn(images, num_steps=steps)
        peaks.append(meter.peak)
    assert peaks[1] <= peaks[0] + ROOM
