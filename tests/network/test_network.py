"""SpikingNetwork: time, state, outputs, precision, and snnTorch's tools on it."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from typing import Any

import pytest
import snntorch
import torch
from snntorch import Leaky, utils
from snntorch.functional import probe
from torch import nn

import snntorch_ecl as ecl
from snntorch_ecl import DualThreshold, SignedMaxPool
from snntorch_ecl.nn._temporal import Temporal
from tests.helpers.nets import BY_NAME, over_kinds, spiking
from tests.helpers.networks import TYPICAL, convert, steps
from tests.helpers.parts import close, equal, head, set_thresholds, wired

pytestmark = pytest.mark.usefixtures("seeded")


def nested() -> nn.Module:
    """No neuron or max-pool is a direct child of the network or of its graph."""
    deep = nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2)), head())
    ann = ecl.prepare(nn.Sequential(deep).eval())
    set_thresholds(ann, torch.randn(8, 1, 6, 6))
    return ann


# ------------------------------------------------------------------------------------------ reset


@pytest.mark.parametrize(
    "reset", [utils.reset, ecl.reset, lambda snn: snn.reset(),
              lambda snn: [m.reset_mem() for m in snn.modules() if isinstance(m, Leaky)]],
    ids=["snntorch", "ecl", "method", "later snntorch"],
)  # fmt: skip
def test_after_a_reset_a_network_is_fresh_neurons_and_pools(reset: Callable[[Any], Any]) -> None:
    snn = ecl.convert(nested())
    assert not any(isinstance(m, Temporal) for child in (snn, snn.net) for m in child.children())
    x = torch.randn(2, 1, 6, 6)
    first = steps(snn, x)
    assert not torch.equal(torch.stack(first), torch.stack(steps(snn, x)))
    reset(snn)
    assert torch.equal(torch.stack(first), torch.stack(steps(snn, x)))


def test_reset_cuts_the_graph_of_the_last_sequence() -> None:
    snn = convert("sequential")
    snn.step(*BY_NAME["sequential"].inputs())
    assert any(n.mem.grad_fn is not None for n in snn.neurons.values())
    utils.reset(snn)
    assert all(n.mem.grad_fn is None for n in snn.neurons.values())


def test_reset_leaves_other_networks_alone() -> None:
    one, other = convert("sequential"), convert("sequential")
    x = BY_NAME["sequential"].inputs()
    steps(other, *x)
    before = [n.spike_count.clone() for n in other.neurons.values()]
    one.reset()
    assert all(torch.equal(n.spike_count, b)
               for n, b in zip(other.neurons.values(), before, strict=True))  # fmt: skip
    assert any(bool(b.any()) for b in before)


@pytest.mark.parametrize("name", TYPICAL)
def test_a_run_starts_fresh_whatever_went_before(name: str) -> None:
    snn, x = convert(name), BY_NAME[name].inputs()
    first = snn(*x, num_steps=3)
    steps(snn, *x, count=2)
    assert equal(snn(*x, num_steps=3), first)
    assert close(snn.forward_steps(*[v.expand(3, *v.shape) for v in x]), first)


@pytest.mark.parametrize("name", TYPICAL)
def test_a_run_can_be_continued_step_by_step(name: str) -> None:
    snn, x = convert(name), BY_NAME[name].inputs()
    whole = steps(snn, *x, count=5)[3:]
    snn(*x, num_steps=3)
    assert close(steps(snn, *x, count=2), whole)


# ------------------------------------------------------------------------------------------- time


@over_kinds
def test_entry_t_of_the_logits_is_a_run_of_t_plus_1_steps(net: Any) -> None:
    snn, x = spiking(net.name)[1], net.inputs(2)
    with torch.no_grad():
        over_time = torch.utils._pytree.tree_leaves(snn.logits_over_time(*x, num_steps=4))
        for t in range(4):
            runs = torch.utils._pytree.tree_leaves(snn(*x, num_steps=t + 1))
            for entry, run in zip(over_time, runs, strict=True):
                assert entry.shape[0] == 4
                assert torch.allclose(entry[t], run, atol=1e-5)


def test_outputs_keep_their_structure() -> None:
    snn, x = spiking("dict output")[1], BY_NAME["dict output"].inputs()
    assert {k: tuple(v.shape) for k, v in snn(*x, num_steps=2).items()} == {
        "logits": (3, 6), "extra": (3, 3)}  # fmt: skip
    pair = spiking("two outputs")[1].logits_over_time(*BY_NAME["two outputs"].inputs(), num_steps=2)
    assert [tuple(v.shape) for v in pair] == [(2, 3, 3), (2, 3, 6)]


def test_numbers_among_the_outputs_pass_through() -> None:
    ann = wired(lambda m, x: (m.clip(x), x.shape[1]), clip=ecl.ThresholdClip(4, 1.0))
    spikes, width = ecl.convert(ann)(torch.rand(2, 5), num_steps=3)
    assert (spikes.shape, width) == ((2, 5), 5)


# --------------------------------------------------------------------------- the world around it


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["residual", "max-pool", "two inputs"])
def test_it_runs_in_other_precisions(name: str, dtype: torch.dtype) -> None:
    snn, net = convert(name).to(dtype), BY_NAME[name]
    inputs = [x.to(dtype) for x in net.inputs()]
    logits = snn(*inputs, num_steps=4)
    assert logits.dtype is dtype
    assert logits.isfinite().all()
    with torch.no_grad():
        full = spiking(name)[1](*net.inputs(), num_steps=4)
    assert (logits.float() - full).norm() < 0.3 * full.norm()


@pytest.mark.parametrize(
    "name",
    [
        *("max-pool", "two inputs"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("residual", "late batch size")),
    ],
)
def test_compiled_it_gives_the_same_logits(name: str) -> None:
    torch._dynamo.reset()
    snn, x = convert(name), BY_NAME[name].inputs()
    compiled = torch.compile(snn, backend="eager")
    with torch.no_grad():
        expected = snn(*x, num_steps=3)
        assert torch.equal(compiled(*x, num_steps=3), expected)
        assert torch.equal(compiled(*x, num_steps=3), expected)


def test_snntorchs_monitors_see_every_step() -> None:
    snn, x = convert("residual"), BY_NAME["residual"].inputs()
    monitor = probe.OutputMonitor(snn, DualThreshold)
    outputs = steps(snn, *x, count=4)
    assert monitor.monitored_layers == [f"net.{layer.name}" for layer in snn.layers]
    for layer in snn.layers:
        spikes = torch.stack(monitor[f"net.{layer.name}"])
        theta = snn.neurons[layer.name].threshold
        assert spikes.shape[:2] == (4, 3)
        assert set((spikes / theta).unique().tolist()) <= {-1, 0, 1}
    monitor.remove_hooks()
    assert torch.allclose(torch.stack(outputs).mean(0), snn(*x, num_steps=4), atol=1e-6)


def test_twenty_networks_leave_no_neuron_in_snntorchs_list() -> None:
    spiking("sequential")
    gc.collect()
    before = len(snntorch.SpikingNeuron.instances)
    for _ in range(20):
        snn = convert("max-pool")
        snn(*BY_NAME["max-pool"].inputs(), num_steps=2)
    assert len(snntorch.SpikingNeuron.instances) > before
    del snn
    gc.collect()
    assert len(snntorch.SpikingNeuron.instances) == before


def test_pools_are_exact_pools_of_the_kind_they_were() -> None:
    snn = spiking("max-pool overlapping")[1]
    (pool,) = (m for m in snn.modules() if isinstance(m, SignedMaxPool))
    assert (pool.pool.kernel_size, pool.pool.stride, pool.pool.padding) == (3, 1, 1)


# ------------------------------------------------------------------- steps and what resets them


def test_steps_go_on_where_no_neuron_is_dual_threshold() -> None:
    def leaky(module: nn.Module, site: Any) -> nn.Module:
        return snntorch.Leaky(1.0, init_hidden=True, reset_delay=False)

    ann = nn.Sequential(nn.Linear(4, 6), ecl.ThresholdClip(4, 1.0), nn.Linear(6, 3)).eval()
    snn = ecl.convert(ann, handlers={ecl.ThresholdClip: leaky})
    x = torch.rand(5, 4)
    whole = snn(x, num_steps=4)
    snn.reset()
    torch.testing.assert_close(torch.stack(steps(snn, x, count=4)).mean(0), whole)


def test_a_membrane_assigned_after_a_reset_is_where_the_sequence_begins() -> None:
    ann = nn.Sequential(nn.Identity(), ecl.ThresholdClip(4, 1.0)).eval()
    snn = ecl.convert(ann)
    snn.step(torch.zeros(1, 2))
    snn.reset()
    (neuron,) = snn.neurons.values()
    neuron.mem = torch.tensor([[0.4, 0.0]])
    assert snn.step(torch.full((1, 2), 0.2)).tolist() == [[1.0, 0.0]]


def test_the_state_of_a_sequence_moves_with_the_network() -> None:
    snn, x = ecl.convert(nested()), torch.randn(2, 1, 6, 6)
    steps(snn, x, count=2)
    third = copy.deepcopy(snn)  # copies begin anew, so the truth is a run of its own
    expected = steps(third, x, count=3)[-1]
    snn.double()
    torch.testing.assert_close(snn.step(x.double()).float(), expected)
