"""Runs on an accelerator: the host reads no value of it before the end of a run.

Fake tensors claim to lie on a CUDA device and have no values, so whoever reads one gets an error.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

import snntorch_ecl as ecl
from snntorch_ecl import SpikingNetwork, ThresholdClip
from snntorch_ecl._util import torch_internals
from snntorch_ecl.errors import StateError
from snntorch_ecl.functional import _fused
from snntorch_ecl.network import _guards, _pieces, _runner
from snntorch_ecl.nn import _state, _threshold_clip
from snntorch_ecl.nn._threshold_clip import clips_of

# Those that ask whether a value can be read.
MODULES = (_guards, _pieces, _runner, _state, torch_internals, _fused, _threshold_clip)


@pytest.fixture(autouse=True)
def _no_fake_neuron_stays() -> Iterator[None]:
    yield
    gc.collect()  # snnTorch's reset would touch their membranes, and there is no CUDA


@contextmanager
def fake_cuda() -> Iterator[list[int]]:
    """Fake tensors, taken for real ones; yields how many flags the host has read where it may."""
    read: list[int] = []

    def read_flags(flags: Tensor) -> list[bool]:
        read.append(len(flags))
        return [True] * len(flags)

    with pytest.MonkeyPatch.context() as patch:
        for module in MODULES:
            patch.setattr(module, "can_be_read", lambda tensor: True)
        patch.setattr(_guards, "read_flags", read_flags)
        with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"):
            yield read


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.clip = nn.Conv2d(4, 4, 3, padding=1), ThresholdClip(4, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.clip(self.conv(x) + x)


def network(**settings: Any) -> SpikingNetwork:
    """Converted where values can be read."""
    ann = nn.Sequential(
        nn.Conv2d(2, 4, 3), ThresholdClip(4, torch.full((4,), 0.7)), nn.MaxPool2d(2), Residual(),
        nn.Flatten(), nn.Linear(36, 3),
    )  # fmt: skip
    return ecl.convert(ann, **settings).eval()


def moved(network: nn.Module) -> nn.Module:
    """The network as if on a CUDA device: each of its tensors replaced."""
    for module in network.modules():
        for tensors in (module._parameters, module._buffers):
            for name, value in tensors.items():
                if value is not None:
                    fake = torch.empty(value.shape, dtype=value.dtype)
                    learned = isinstance(value, nn.Parameter)
                    tensors[name] = nn.Parameter(fake) if learned else fake
    return network


RUNS: dict[str, Callable[[SpikingNetwork, Tensor], Any]] = {
    "forward": lambda snn, x: snn(x, num_steps=4),
    "logits over time": lambda snn, x: snn.logits_over_time(x, num_steps=4),
    "in pieces": lambda snn, x: snn(x, num_steps=4, piece=3),
    "sequences": lambda snn, x: snn.forward_steps(torch.stack([x, x])),
}


@pytest.mark.parametrize("unit_spikes", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("way", RUNS)
def test_a_run_reads_once_at_its_end(way: str, gradients: bool, unit_spikes: bool) -> None:
    snn = network(unit_spikes=unit_spikes)
    with fake_cuda() as read, torch.set_grad_enabled(gradients):
        output = RUNS[way](moved(snn), torch.empty(6, 2, 8, 8))
        assert output.device.type == "cuda"
    assert read == [1 + 2]  # once: the input, and two layers of neurons


def test_fake_tensors_tell_of_a_read() -> None:
    with fake_cuda(), pytest.raises(DataDependentOutputException):
        bool(torch.ones(3).isfinite().all())


def test_a_prepared_network_reads_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    ann = ecl.prepare(model).train()
    ann(torch.rand(6, 2, 8, 8))
    for clip in clips_of(ann).values():
        clip.threshold = clip.threshold
    with fake_cuda():
        output = moved(ann)(torch.empty(6, 2, 8, 8))  # no backward pass without CUDA
    assert output.device.type == "cuda"


def test_the_first_thing_that_is_not_finite_is_named() -> None:
    """Accelerators collect flags; here a tensor on the CPU stands for one, read at the end."""
    finite = _guards.Finite()
    finite._flags = [torch.tensor([True, False]), torch.tensor([False])]
    finite._errors = [lambda name=name: StateError(name) for name in ("a", "b", "c")]
    with pytest.raises(StateError, match=r"^b$"):
        finite.read()
    finite.read()  # nothing is left
