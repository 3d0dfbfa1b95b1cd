"""Neurons copied, saved, moved, compiled, exported and forgotten."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
import weakref
from typing import Any

import pytest
import snntorch as snn
import torch
from snntorch import surrogate, utils
from torch import nn

import snntorch_ecl as ecl
from snntorch_ecl import DualThreshold
from snntorch_ecl.errors import ConfigError, StateError
from tests.helpers.currents import CURRENTS, SPIKES, hidden, run

# ------------------------------------------------------------------------ copies, files, moves


COPIES = {
    "copy.copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda neuron: pickle.loads(pickle.dumps(neuron)),
}


@pytest.mark.parametrize("twin_of", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("spike_grad", [None, surrogate.fast_sigmoid(slope=7)])
def test_a_copy_made_in_mid_training_is_fresh_and_equal(twin_of, spike_grad) -> None:
    neuron = hidden(threshold=0.75, negative_threshold=-0.5, spike_grad=spike_grad)
    x = CURRENTS.clone().requires_grad_()
    expected = run(neuron, x)
    expected.sum().backward()
    twin, y = twin_of(neuron), CURRENTS.clone().requires_grad_()
    spikes = run(twin, y)
    spikes.sum().backward()
    assert torch.equal(spikes, expected)
    assert torch.equal(y.grad, x.grad)  # the same surrogate, with its slope


@pytest.mark.parametrize("twin_of", COPIES.values(), ids=COPIES)
def test_a_copy_hears_of_snntorchs_reset(twin_of) -> None:
    net = nn.Sequential(twin_of(hidden()))
    run(net, CURRENTS)
    utils.reset(net)
    assert torch.equal(run(net, CURRENTS), SPIKES)


def test_copying_leaves_the_running_sequence_alone() -> None:
    neuron = hidden()
    run(neuron, CURRENTS[:4])
    copy.deepcopy(neuron)
    pickle.dumps(neuron)
    assert torch.equal(run(neuron, CURRENTS[4:]), SPIKES[4:])


def test_deepcopy_of_a_network_keeps_shared_neurons_shared() -> None:
    neuron = hidden()
    twin = copy.deepcopy(nn.Sequential(neuron, nn.Identity(), neuron))
    assert twin[0] is twin[2]
    assert twin[0] is not neuron


@pytest.mark.parametrize("learn", [False, True])
def test_state_dict_of_thresholds_per_channel_fits_a_scalar_one(learn: bool) -> None:
    thetas = torch.tensor([0.5, 1.0, 2.0, 0.75])
    source = hidden(threshold=thetas, graded_spikes_factor=thetas, learn_threshold=learn)
    target = hidden(learn_threshold=learn)
    target.load_state_dict(source.state_dict())
    assert torch.equal(run(target, CURRENTS), run(source, CURRENTS))


def test_state_dict_keys_are_leakys_and_hold_no_sequence() -> None:
    neuron = hidden()
    run(neuron, CURRENTS)
    assert set(neuron.state_dict()) == set(snn.Leaky(beta=1.0).state_dict())


def test_a_bad_threshold_in_a_file_is_named() -> None:
    net = nn.Sequential(hidden())
    state = {**net.state_dict(), "0.threshold": torch.tensor([1.0, -2.0])}
    with pytest.raises(ConfigError, match=r"0\.threshold.*-2.*\[1\]"):
        net.load_state_dict(state)


@pytest.mark.parametrize(
    ("name", "value"),
    [("beta", 0.9), ("beta", torch.tensor(0.9)), ("reset_mechanism", "zero"), ("inhibition", True),
     ("reset_mechanism_val", torch.tensor(1)), ("state_quant", torch.round), ("reset_delay", True)],
)  # fmt: skip
def test_settings_that_the_equations_fix_cannot_be_changed_later(name: str, value: Any) -> None:
    neuron = hidden()
    before = getattr(neuron, name)
    with pytest.raises(ConfigError, match=f"{name} of a dual-threshold neuron is"):
        setattr(neuron, name, value)
    assert getattr(neuron, name) is before
    setattr(neuron, name, before)


@pytest.mark.parametrize("name", ["beta", "reset_mechanism_val"])
def test_a_file_of_a_leaky_neuron_is_refused(name: str) -> None:
    net = nn.Sequential(hidden())
    state = {**net.state_dict(), f"0.{name}": torch.tensor(2)}
    with pytest.raises(ConfigError, match=rf"0\.{name} .* cannot be 2"):
        net.load_state_dict(state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("cast_module", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_spikes_have_the_dtype_of_the_input(
    dtype: torch.dtype, cast_module: bool, grad: bool
) -> None:
    neuron = hidden(threshold=torch.ones(4), graded_spikes_factor=torch.ones(4), output=True)
    if cast_module:
        neuron.to(dtype)
    for current, expected in zip(CURRENTS.to(dtype).requires_grad_(grad), SPIKES, strict=True):
        spk, mem = neuron(current)
        assert spk.dtype == dtype
        assert mem.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert torch.equal(spk.float(), expected)


def test_state_follows_the_module_to_another_dtype() -> None:
    neuron = hidden()
    run(neuron, CURRENTS[:4])
    neuron.double()
    assert neuron.mem.dtype == torch.float64
    assert neuron.spike_count.dtype == torch.int32
    assert torch.equal(run(neuron, CURRENTS[4:].double()), SPIKES[4:].double())


def test_state_follows_the_module_to_another_device() -> None:
    neuron = hidden()
    run(neuron, CURRENTS)
    neuron.to("meta")
    assert neuron.mem.device.type == neuron.spike_count.device.type == "meta"
    assert neuron(CURRENTS[0].to("meta")).device.type == "meta"


# ---------------------------------------------------------------------------- compile, export


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch looks at the state's .grad
def test_compiled_in_one_graph_it_spikes_the_same_step_by_step() -> None:
    torch.compiler.reset()
    net = nn.Sequential(nn.Linear(4, 5), hidden(), nn.Linear(5, 2), hidden(threshold=0.5))
    expected = run(net, CURRENTS)
    expected.sum().backward()
    gradient, net[0].weight.grad = net[0].weight.grad, None
    ecl.reset(net)
    spikes = run(torch.compile(net, fullgraph=True, backend="eager"), CURRENTS)
    spikes.sum().backward()
    assert torch.equal(spikes, expected)
    torch.testing.assert_close(net[0].weight.grad, gradient)


def test_compiled_with_an_explicit_membrane_it_keeps_the_count() -> None:
    torch.compiler.reset()
    neuron = torch.compile(DualThreshold(), fullgraph=True, backend="eager")
    mem, spikes = torch.zeros(3, 4), []
    for current in CURRENTS:
        spk, mem = neuron(current, mem)
        spikes.append(spk)
    assert torch.equal(torch.stack(spikes), SPIKES)


def test_compiled_it_runs_a_whole_sequence() -> None:
    torch.compiler.reset()
    neuron = torch.compile(hidden(), fullgraph=True, backend="eager")
    assert torch.equal(neuron(CURRENTS.flatten(0, 1), num_steps=8), SPIKES.flatten(0, 1))


def test_compiled_it_takes_another_batch_after_a_reset() -> None:
    """The last batch of an epoch is smaller."""
    torch.compiler.reset()
    neuron = hidden()
    compiled = torch.compile(neuron, fullgraph=True, backend="eager")
    assert torch.equal(run(compiled, CURRENTS), SPIKES)
    ecl.reset(neuron)
    assert torch.equal(run(compiled, CURRENTS[:, :2]), SPIKES[:, :2])


@pytest.mark.parametrize("explicit", [False, True])
def test_exported_it_spikes_the_same(explicit: bool) -> None:
    neuron = DualThreshold(init_hidden=not explicit)
    args = (CURRENTS[0], torch.zeros(3, 4)) if explicit else (CURRENTS[0],)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch: state is no buffer, as intended
        exported = torch.export.export(neuron, args, strict=False).module()
    out = exported(*args)
    spk = out[0] if explicit else out
    assert torch.equal(spk, SPIKES[0])


def test_exported_as_a_whole_sequence_it_spikes_the_same() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        exported = torch.export.export(
            hidden(), (CURRENTS.flatten(0, 1),), {"num_steps": 8}, strict=False
        ).module()
    assert torch.equal(exported(CURRENTS.flatten(0, 1), num_steps=8), SPIKES.flatten(0, 1))


# ------------------------------------------------------------------------ lifetimes, thresholds


def births() -> int:
    return len(snn.SpikingNeuron.instances)


@pytest.mark.parametrize("twin_of", [lambda n: n, *COPIES.values()], ids=["new", *COPIES])
def test_twenty_neurons_leave_no_trace(twin_of) -> None:
    """By reference counts alone: the garbage collector is off."""
    gc.collect()
    before = births()
    gc.disable()
    try:
        for _ in range(20):
            neuron = twin_of(hidden())
            neuron(torch.ones(1))
        last = weakref.ref(neuron)
        del neuron
        assert last() is None
        assert births() == before
    finally:
        gc.enable()


def test_a_living_neuron_is_enlisted_once() -> None:
    before = births()
    neuron = hidden()
    assert births() == before + 1
    assert snn.SpikingNeuron.instances[-1].extra_repr() == neuron.extra_repr()


# ------------------------------------------------------------------- membranes changed in place


@pytest.mark.parametrize("grad", [False, True])
def test_a_membrane_set_to_zero_in_place_is_fresh(grad: bool) -> None:
    neuron, fresh = (ecl.DualThreshold(init_hidden=True) for _ in range(2))
    currents = torch.tensor([[2.0, 0.3], [-0.6, -0.6]])
    with torch.set_grad_enabled(grad):
        neuron(currents[0])
        neuron.mem.zero_()
        for current in currents[1:]:
            assert torch.equal(neuron(current), fresh(current))  # no spike is taken back
    assert torch.equal(neuron.spike_count, fresh.spike_count)


def test_a_membrane_changed_in_place_has_no_count() -> None:
    neuron = ecl.DualThreshold(init_hidden=True)
    neuron(torch.ones(2))
    neuron.mem.add_(0.1)
    with pytest.raises(StateError, match=r"changed in place.*assign `neuron\.mem = mem`"):
        neuron(torch.ones(2))
    neuron.mem = neuron.mem
    neuron(torch.ones(2))
