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
from snntorch_ecl.errors import ConfigError, InputError, StateError
from tests.helpers.compiled import graphs, images, network, small

pytestmark = [  # torch.compile's own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]


# A network, the same compiled to machine code, and the steps to run.
Compared = tuple[SpikingNetwork, SpikingNetwork, int]


@pytest.fixture(
    scope="module", params=[(small, 2), pytest.param((network, 4), marks=pytest.mark.slow)]
)
def plain_and_compiled(request: pytest.FixtureRequest) -> Compared:
    make, num_steps = request.param
    return make(), make().compile(progress=False), num_steps


def test_outputs_are_those_of_plain_code(plain_and_compiled: Compared) -> None:
    plain, compiled, num_steps = plain_and_compiled
    with torch.no_grad():
        for x in (images(), images(3, seed=2)):
            wanted = plain.logits_over_time(x, num_steps=num_steps)
            assert wanted.abs().max() > 0.1
            torch.testing.assert_close(compiled.logits_over_time(x, num_steps=num_steps), wanted)
            torch.testing.assert_close(compiled(x, num_steps=num_steps), wanted[-1])


def test_gradients_are_those_of_plain_code(plain_and_compiled: Compared) -> None:
    plain, compiled, _ = plain_and_compiled
    wanted, made = [], []
    for snn, found in ((plain, wanted), (compiled, made)):
        snn(images(), num_steps=2).square().sum().backward()
        found += [p.grad for p in snn.parameters()]
    assert any(grad.abs().max() > 0.01 for grad in wanted)
    for grad, expected in zip(made, wanted, strict=True):
        torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-5)


def test_batches_of_two_and_more_share_a_graph(traced_only: None) -> None:
    snn = small().compile(progress=False)
    before = graphs()
    with torch.no_grad():
        for count in (300, 170, 999, 200):  # on CPUs, torch has other code for small convolutions
            assert snn(images(count), num_steps=2).shape == (count, 3)
        assert graphs() == before + 1
        snn(images(1), num_steps=2)
        snn.logits_over_time(images(1), num_steps=2)
        assert graphs() == before + 2


def test_input_that_changes_over_time_is_compiled_too(traced_only: None) -> None:
    sequence = torch.stack([images(seed=seed) for seed in range(2)])
    before = graphs()
    with torch.no_grad():
        wanted = small().forward_steps(sequence)
        found = small().compile(progress=False).forward_steps(sequence)
    assert graphs() == before + 1
    torch.testing.assert_close(found, wanted)


def test_a_changed_setting_counts_and_it_says_what_it_compiles(
    traced_only: None, capsys: pytest.CaptureFixture[str]
) -> None:
    snn, plain = small().compile(), small()
    with torch.no_grad():
        before = snn(images(), num_steps=2)
        first = capsys.readouterr().err
        assert "compiling the network for T = 2, inputs [B, 2, 8, 8] float32" in first
        assert "compiled in" in first
        snn(images(4), num_steps=2)
        assert capsys.readouterr().err == ""
        for net in (snn, plain):
            for neuron in net.neurons.values():
                neuron.threshold *= 1.5
                neuron.initial_membrane = 0.1
        found = snn(images(), num_steps=2)
        assert "compiled again for T = 2" in capsys.readouterr().err
        assert not torch.allclose(found, before)
        torch.testing.assert_close(found, plain(images(), num_steps=2))


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


def test_a_step_cannot_go_on_from_a_compiled_run(traced: SpikingNetwork) -> None:
    snn = traced
    with torch.no_grad():
        wanted = small().step(images())
        for reset in (snn.reset, lambda: utils.reset(snn)):
            snn(images(), num_steps=2)
            with pytest.raises(
                StateError, match=r"compiled, or of one step: it kept no state .* Call reset\(\)"
            ):
                snn.step(images())
            reset()
            torch.testing.assert_close(snn.step(images()), wanted)


def test_a_run_begins_fresh_after_steps(traced: SpikingNetwork) -> None:
    snn = traced
    with torch.no_grad():
        wanted = snn(images(), num_steps=2)
        snn.reset()
        snn.step(images(seed=3))
        assert torch.equal(snn(images(), num_steps=2), wanted)


def test_overflow_names_the_layer(traced: SpikingNetwork) -> None:
    with torch.no_grad():
        with pytest.raises(StateError, match="the membrane of 1 is NaN or infinite"):
            traced(torch.full((2, 2, 8, 8), 3e38), num_steps=2)
        with pytest.raises(InputError, match="holds NaN"):
            traced(images() / 0, num_steps=2)


# ------------------------------------------------------------------- what must go on to work


def test_by_neuron_no_graph_of_the_whole_is_made_and_steps_go_on(traced_only: None) -> None:
    plain, snn, before = small(), small().compile(whole=False), graphs()
    with torch.no_grad():
        torch.testing.assert_close(snn(images(), num_steps=2), plain(images(), num_steps=2))
        torch.testing.assert_close(snn.step(images()), plain.step(images()))
    assert graphs() > before  # the neurons' loops
    assert snn._runner.compiled is None
    with pytest.raises(ConfigError, match=r"mode='max-autotune' is for the whole graph"):
        snn.compile(whole=False, mode="max-autotune")


def test_copies_are_plain_and_equal(traced: SpikingNetwork) -> None:
    with torch.no_grad():
        wanted = traced(images(), num_steps=2)
        before = graphs()
        for twin in (copy.deepcopy(traced), pickle.loads(pickle.dumps(traced))):
            torch.testing.assert_close(twin(images(), num_steps=2), wanted)
            assert twin.state_dict().keys() == small().state_dict().keys()
    assert graphs() == before


def test_a_moved_network_cannot_go_on_either(traced_only: None) -> None:
    snn = small().compile(progress=False)
    with torch.no_grad():
        snn(images(), num_steps=2)
        snn.double()
        with pytest.raises(StateError, match="kept no state"):
            snn.step(images().double())
        snn.reset()
        wanted = small().double().step(images().double())
        torch.testing.assert_close(snn.step(images().double()), wanted)


def test_runs_of_threads_take_turns(traced_only: None) -> None:
    snn, plain = small().compile(progress=False), small()
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


@pytest.mark.parametrize("way", ["autocast", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_half_precision(way: str, traced_only: None) -> None:
    snn, plain = small().compile(progress=False), small()
    x, autocast = images(), torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast")
    if way == "bfloat16":
        x, snn, plain = x.bfloat16(), snn.bfloat16(), plain.bfloat16()
    with torch.no_grad(), autocast:
        wanted = plain(x, num_steps=2)
        before = graphs()
        found = snn(x, num_steps=2)
    assert graphs() == before + 1
    assert found.dtype == wanted.dtype == torch.bfloat16
    torch.testing.assert_close(found, wanted)
