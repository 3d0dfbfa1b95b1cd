"""One network in many threads: every answer is that of one thread, or an error says why not."""

from __future__ import annotations

import copy
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import snntorch
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import SpikingNetwork, ThresholdClip
from snntorch_ecl._util.turns import Turn
from snntorch_ecl.errors import StateError

THREADS, ROUNDS, T = 4, 12, 4


@pytest.fixture(autouse=True)
def _hurried() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def network(**settings: Any) -> SpikingNetwork:
    torch.manual_seed(0)
    ann = nn.Sequential(
        nn.Conv2d(2, 4, 3), ThresholdClip(4, 0.7), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2),
        ThresholdClip(4, 0.5), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip
    return ecl.convert(ann, **settings)


def images(count: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2 + i % 2, 2, 8, 8, generator=generator) for i in range(count)]


def in_threads(work: Callable[[int], None], count: int = THREADS) -> list[BaseException]:
    """Run ``work(0) … work(count − 1)`` at once; the errors that it raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(count)

    def guarded(index: int) -> None:
        try:
            start.wait()
            work(index)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,), name=f"t{i}") for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def sequence(x: Tensor) -> Tensor:
    return torch.stack([x * (1 + t) / T for t in range(T)])


def evaluated(snn: SpikingNetwork, x: Tensor) -> Tensor:
    labels = torch.arange(len(x)) % 3
    result = ecl.evaluate(snn, [(x, labels)], num_steps=T, progress=False)
    return torch.tensor([*result.accuracy, *(layer.spike_rate for layer in result.layers)])


WAYS: dict[str, Callable[[SpikingNetwork, Tensor], Tensor]] = {
    "forward": lambda snn, x: snn(x, num_steps=T),
    "in pieces": lambda snn, x: snn(x, num_steps=T, piece=1),
    "forward_steps": lambda snn, x: snn.forward_steps(sequence(x)),
    "over time": lambda snn, x: snn.logits_over_time(x, num_steps=T),
    "predict": lambda snn, x: snn.predict(x, max_steps=T, confidence=0.5).confidence,
    "evaluate": evaluated,
}


def answers_of_threads(snn: SpikingNetwork, ways: list[Callable[..., Tensor]]) -> list[bool]:
    """Whether each answer of each thread is, bit for bit, that of a single thread."""
    data = images()
    with torch.no_grad():
        expected = [[way(snn, x) for x in data] for way in ways]
    same: list[bool] = []

    def work(index: int) -> None:
        for turn in range(ROUNDS):
            way, image = (index + turn) % len(ways), (index * 5 + turn) % len(data)
            with torch.no_grad():
                same.append(torch.equal(ways[way](snn, data[image]), expected[way][image]))

    assert in_threads(work) == []
    return same


@pytest.mark.parametrize("way", WAYS)
def test_threads_get_the_answers_of_one_thread(way: str) -> None:
    assert answers_of_threads(network(), [WAYS[way]]) == [True] * (THREADS * ROUNDS)


def test_threads_may_mix_all_ways_to_run() -> None:
    assert all(answers_of_threads(network(unit_spikes=True), list(WAYS.values())))


def test_neurons_and_layers_of_others_are_guarded_as_well() -> None:
    leaky = {ThresholdClip: lambda m, site: snntorch.Leaky(beta=0.9, init_hidden=True)}
    assert all(answers_of_threads(network(handlers=leaky), [WAYS["forward"]]))


def test_replicas_that_share_their_layers_state_take_turns() -> None:
    """``DataParallel`` copies modules shallowly, and runs the copies in threads."""
    snn = network()
    replicas = [copy.copy(snn) for _ in range(THREADS)]
    x = images()[0]
    with torch.no_grad():
        expected = snn(x, num_steps=T)
    same: list[bool] = []

    def work(index: int) -> None:
        for _ in range(ROUNDS):
            with torch.no_grad():
                same.append(torch.equal(replicas[index](x, num_steps=T), expected))

    assert in_threads(work) == []
    assert all(same)


def test_one_thread_trains_while_another_evaluates() -> None:
    """Neither sees the other's mode: dropout is on in training, off in an evaluation."""
    torch.manual_seed(0)
    ann = nn.Sequential(nn.Linear(4, 8), ThresholdClip(4, 1.0), nn.BatchNorm1d(8), nn.Linear(8, 3))
    snn = ecl.convert(ann, fold_batchnorms=False).train()
    modes: list[bool] = []
    snn.net.get_submodule("2").register_forward_hook(
        lambda module, args, out: modes.append(module.training)
    )
    x = torch.randn(6, 4)

    def work(index: int) -> None:
        for _ in range(ROUNDS):
            if index:
                ecl.energy(snn, [x], num_steps=2, progress=False)
            else:
                snn(x, num_steps=2).sum().backward()

    assert in_threads(work, 2) == []
    assert sum(modes) == ROUNDS  # the other thread's runs were in eval mode
    assert len(modes) == 2 * ROUNDS
    assert snn.training


# ------------------------------------------------------------------------------------------ steps


def test_steps_of_two_threads_are_an_error_never_a_wrong_answer() -> None:
    snn, data = network(), images()
    with torch.no_grad():
        expected = [snn(x, num_steps=T) for x in data]
    same: list[bool] = []

    def work(index: int) -> None:
        with torch.no_grad():
            for turn in range(ROUNDS):
                image = (index * 3 + turn) % len(data)
                snn.reset()
                mean = torch.stack([snn.step(data[image]) for _ in range(T)]).sum(0) / T
                same.append(torch.allclose(mean, expected[image], atol=1e-6))

    errors = in_threads(work)
    assert all(same)
    assert errors
    assert all(isinstance(error, StateError) and "copy.deepcopy" in str(error) for error in errors)


def test_a_step_needs_the_state_that_its_own_thread_left() -> None:
    snn, x = network(), images()[0]
    snn.step(x)
    (error,) = in_threads(lambda _: snn.step(x), 1)
    assert "'t0' takes a step, but the network's state belongs to 'MainThread'" in str(error)
    assert in_threads(lambda _: (snn.reset(), snn.step(x)), 1) == []  # type: ignore[arg-type,return-value]
    with pytest.raises(StateError, match="belongs to 't0'"):
        snn.step(x)
    ecl.reset(snn)
    snn.step(x)


def test_a_run_in_another_thread_ends_a_sequence_of_steps() -> None:
    snn, x = network(), images()[0]
    snn.step(x)
    assert in_threads(lambda _: snn(x, num_steps=1), 1) == []
    with pytest.raises(StateError, match="Call reset"):
        snn.step(x)


# ------------------------------------------------------------------------ inside a run, and copies


@pytest.mark.parametrize("inner", ["call", "step", "reset"])
def test_a_network_that_calls_itself_is_refused(inner: str) -> None:
    snn, x = network(), images()[0]
    calls = {
        "call": lambda: snn(x, num_steps=1),
        "step": lambda: snn.step(x),
        "reset": lambda: ecl.reset(snn),
    }
    handle = snn.net.get_submodule("4").register_forward_hook(lambda *_: calls[inner]())  # type: ignore[arg-type]
    with pytest.raises(StateError, match="while it runs"):
        snn(x, num_steps=T)
    handle.remove()
    snn(x, num_steps=T)  # the refusal has released the network


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda snn: pickle.loads(pickle.dumps(snn))])
def test_copies_made_during_a_run_have_a_turn_of_their_own(twin: Callable[[Any], Any]) -> None:
    snn, x = network(), images()[0]
    with torch.no_grad():
        expected = snn(x, num_steps=T)
        with snn._turn.run():
            copied = twin(snn)
            answers: list[Tensor] = []
            thread = threading.Thread(target=lambda: answers.append(copied(x, num_steps=T)))
            thread.start()
            thread.join(10)  # it would wait for ever on the turn of the original
    assert torch.allclose(answers[0], expected)


def test_a_forked_process_does_not_wait_for_a_thread_it_does_not_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turn, held, done = Turn(), threading.Event(), threading.Event()

    def hold() -> None:
        with turn.run():
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    entered: list[bool] = []

    def enter() -> None:
        with turn.run():
            entered.append(True)

    forked = threading.Thread(target=enter, daemon=True)
    forked.start()
    forked.join(5)
    done.set()
    thread.join()
    assert entered == [True]
