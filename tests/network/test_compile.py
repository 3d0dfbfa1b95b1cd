"""``snn.compile()``: whole runs as one graph, with the answers of plain code."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
from snntorch import utils
from torch import nn

import snntorch_ecl as ecl
from snntorch_ecl import SpikingNetwork, ThresholdClip
from snntorch_ecl.errors import InputError, StateError
from tests.helpers.compiled import graphs, images, network

pytestmark = [  # torch.compile's own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]


@pytest.fixture(scope="module")
def compiled() -> SpikingNetwork:
    """Compiled to machine code, once for all tests that only run it."""
    return network().compile(progress=False)


def test_outputs_are_those_of_plain_code(compiled: SpikingNetwork) -> None:
    plain = network()
    with torch.no_grad():
        for x in (images(), images(3, seed=2)):
            wanted = plain.logits_over_time(x, num_steps=4)
            assert wanted.abs().max() > 0.1
            torch.testing.assert_close(compiled.logits_over_time(x, num_steps=4), wanted)
            torch.testing.assert_close(compiled(x, num_steps=4), wanted[-1])


def test_gradients_are_those_of_plain_code(compiled: SpikingNetwork) -> None:
    plain, wanted = network(), []
    for snn, found in ((plain, wanted), (compiled, made := [])):
        snn(images(), num_steps=2).square().sum().backward()
        found += [p.grad for p in snn.parameters()]
    assert any(grad.abs().max() > 0.01 for grad in wanted)
    for grad, expected in zip(made, wanted, strict=True):
        torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-5)


def test_batches_of_two_and_more_share_a_graph(traced_only: None) -> None:
    snn = network().compile(progress=False)
    before = graphs()
    with torch.no_grad():
        for count in (300, 170, 999, 200):  # on CPUs, torch has other code for small convolutions
            assert snn(images(count), num_steps=4).shape == (count, 3)
        assert graphs() == before + 1
        snn(images(1), num_steps=4)
        snn.logits_over_time(images(1), num_steps=4)
        assert graphs() == before + 2


def test_input_that_changes_over_time_is_compiled_too(traced_only: None) -> None:
    sequence = torch.stack([images(seed=seed) for seed in range(3)])
    before = graphs()
    with torch.no_grad():
        wanted = network().forward_steps(sequence)
        found = network().compile(progress=False).forward_steps(sequence)
    assert graphs() == before + 1
    torch.testing.assert_close(found, wanted)


def test_it_says_what_it_compiles(traced_only: None, capsys: pytest.CaptureFixture[str]) -> None:
    snn = network().compile()
    with torch.no_grad():
        snn(images(), num_steps=4)
        first = capsys.readouterr().err
        assert "compiling the network for T = 4, inputs [B, 2, 8, 8] float32" in first
        assert "compiled in" in first
        snn(images(4), num_steps=4)
        assert capsys.readouterr().err == ""
        next(iter(snn.neurons.values())).initial_membrane = 0.25
        snn(images(4), num_steps=4)
        assert "compiled again for T = 4" in capsys.readouterr().err


def test_a_changed_setting_counts(traced_only: None) -> None:
    snn, plain = network().compile(progress=False), network()
    with torch.no_grad():
        before = snn(images(), num_steps=3)
        for net in (snn, plain):
            for neuron in net.neurons.values():
                neuron.threshold *= 1.5
                neuron.initial_membrane = 0.1
        found = snn(images(), num_steps=3)
        assert not torch.allclose(found, before)
        torch.testing.assert_close(found, plain(images(), num_steps=3))


def test_folded_later_it_runs_the_new_graph(traced_only: None) -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
    norm.running_mean, norm.running_var = torch.rand(4) / 9, torch.rand(4) + 1
    ann = nn.Sequential(conv, norm, ThresholdClip(4, 0.7), nn.Flatten(), nn.Linear(144, 3)).eval()
    snn, plain = (ecl.convert(ann, fold_batchnorms=False).eval() for _ in range(2))
    with torch.no_grad():
        snn.compile(progress=False)(images(), num_steps=2)
        for net in (snn, plain):
            net.fold_batchnorms().net.get_submodule("0").weight *= 1.5
        wanted = plain(images(), num_steps=2)
        torch.testing.assert_close(snn(images(), num_steps=2), wanted)


# ---------------------------------------------------------------------------------- the state


def test_a_step_cannot_go_on_from_a_compiled_run(traced_only: None) -> None:
    snn, plain = network().compile(progress=False), network()
    with torch.no_grad():
        wanted = plain.step(images())
        for reset in (snn.reset, lambda: utils.reset(snn)):
            snn(images(), num_steps=2)
            with pytest.raises(StateError, match=r"compiled and kept no state .* call reset\(\)"):
                snn.step(images())
            reset()
            torch.testing.assert_close(snn.step(images()), wanted)


def test_nor_after_the_network_was_moved_or_got_another_type(traced_only: None) -> None:
    snn = network().compile(progress=False)
    with torch.no_grad():
        snn(images(), num_steps=2)
        snn.double()
        with pytest.raises(StateError, match="kept no state"):
            snn.step(images().double())
        snn.reset()
        wanted = network().double().step(images().double())
        torch.testing.assert_close(snn.step(images().double()), wanted)


def test_a_run_begins_fresh_after_steps(traced_only: None) -> None:
    snn = network().compile(progress=False)
    with torch.no_grad():
        wanted = snn(images(), num_steps=2)
        snn.reset()
        snn.step(images(seed=3))
        assert torch.equal(snn(images(), num_steps=2), wanted)


def test_overflow_names_the_layer(traced_only: None) -> None:
    snn = network().compile(progress=False)
    with torch.no_grad():
        with pytest.raises(StateError, match="the membrane of 1 is NaN or infinite"):
            snn(torch.full((2, 2, 8, 8), 3e38), num_steps=2)
        with pytest.raises(InputError, match="holds NaN"):
            snn(images() / 0, num_steps=2)


# ------------------------------------------------------------------- what must go on to work


def test_copies_are_plain_and_equal(traced_only: None) -> None:
    snn = network().compile(progress=False)
    with torch.no_grad():
        wanted = snn(images(), num_steps=3)
        before = graphs()
        for twin in (copy.deepcopy(snn), pickle.loads(pickle.dumps(snn))):
            torch.testing.assert_close(twin(images(), num_steps=3), wanted)
            assert twin.state_dict().keys() == network().state_dict().keys()
    assert graphs() == before


def test_runs_of_threads_take_turns(traced_only: None) -> None:
    snn, plain = network().compile(progress=False), network()
    wrong: list[int] = []

    def run(seed: int) -> None:
        with torch.no_grad():
            for count in (2, 3, 4):
                x = images(count, seed)
                if not torch.allclose(snn(x, num_steps=2), wanted[seed][count], atol=1e-5):
                    wrong.append(seed)

    with torch.no_grad():
        wanted = [{c: plain(images(c, s), num_steps=2) for c in (2, 3, 4)} for s in range(3)]
    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("way", ["autocast", "bfloat16"])
def test_half_precision(way: str, traced_only: None) -> None:
    snn, plain = network().compile(progress=False), network()
    x, autocast = images(), torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast")
    if way == "bfloat16":
        x, snn, plain = x.bfloat16(), snn.bfloat16(), plain.bfloat16()
    with torch.no_grad(), autocast:
        wanted = plain(x, num_steps=4)
        before = graphs()
        found = snn(x, num_steps=4)
    assert graphs() == before + 1
    assert found.dtype == wanted.dtype == torch.bfloat16
    torch.testing.assert_close(found, wanted)
