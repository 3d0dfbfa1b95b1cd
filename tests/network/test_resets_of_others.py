"""snnTorch resets all neurons of the process, also those that another thread runs."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

import pytest
import snntorch
import torch
from snntorch import utils
from torch import nn

from snntorch_ecl import DualThreshold
from snntorch_ecl.nn import _dual_threshold
from tests.network.test_threads import ROUNDS, T, images, network


@pytest.fixture(autouse=True)
def _hurried() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_snntorchs_reset_in_another_thread_does_not_reach_into_a_run() -> None:
    snn, x, done = network(), images()[0], threading.Event()
    other = nn.Sequential(snntorch.Leaky(beta=0.9, init_hidden=True))

    def reset_others() -> None:
        while not done.is_set():
            # It walks over all neurons of the process, some of which may vanish meanwhile.
            with contextlib.suppress(IndexError, ReferenceError):
                utils.reset(other)

    with torch.no_grad():
        expected = snn(x, num_steps=T)
        thread = threading.Thread(target=reset_others)
        thread.start()
        try:
            same = [torch.equal(snn(x, num_steps=T, piece=1), expected) for _ in range(ROUNDS)]
        finally:
            done.set()
            thread.join()
    assert all(same)


def test_a_reset_that_began_before_a_run_does_not_reach_into_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worst moment: the other thread has just seen that no run is under way."""
    neuron, x = DualThreshold(init_hidden=True), torch.tensor([0.4, 0.7])
    ours = threading.get_ident()

    def begin_a_run() -> int:
        monkeypatch.setattr(_dual_threshold, "get_ident", lambda: ours)
        neuron.begin()
        neuron(x)
        return other.ident or 0

    def reset() -> None:
        neuron.mem = torch.zeros(2)

    monkeypatch.setattr(_dual_threshold, "get_ident", begin_a_run)
    other = threading.Thread(target=reset)
    other.start()
    other.join()
    assert neuron.mem.tolist() == pytest.approx([0.4, 0.7 - 1.0])
    assert neuron.spike_count.tolist() == [0, 1]


def test_snntorchs_reset_in_another_thread_does_not_cut_a_graph() -> None:
    snn, x = network(), images()[0]
    neurons = [module for module in snn.modules() if isinstance(module, DualThreshold)]
    weight = next(snn.parameters())

    def reset(*_: object) -> None:
        thread = threading.Thread(target=utils.reset, args=(nn.Sequential(neurons[0]),))
        thread.start()
        thread.join()

    (expected,) = torch.autograd.grad(snn(x, num_steps=T, piece=1).sum(), weight)
    neurons[-1].register_forward_hook(reset)
    (grad,) = torch.autograd.grad(snn(x, num_steps=T, piece=1).sum(), weight)
    assert torch.equal(grad, expected)
