"""The adapter to NeuroBench, which is not needed here: its calls are made by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError, InputError, StateError
from snntorch_ecl.hardware._neurobench import NeuroBenchNet
from tests.helpers.nets import BY_NAME, SMALL, Net, over_kinds_of
from tests.helpers.parts import wired

STEPS = 4
STRUCTURED = {"two outputs", "dict output"}  # they return no tensor
SINGLE = [
    net for net in SMALL
    if not isinstance(net.shape[0], tuple) and net.name not in STRUCTURED
]  # fmt: skip


def spiking(net: Net, **settings: Any) -> ecl.SpikingNetwork:
    return ecl.convert(net.prepared(), unit_spikes=True, **settings)


def some_net() -> Net:
    return next(net for net in SINGLE if len(net.shape) == 3)


def run(net: NeuroBenchNet, data: Tensor) -> Tensor:
    """What ``neurobench.models.SNNTorchModel`` does with ``[B, T, ...]``."""
    net.reset()
    return torch.stack([net(data[:, step])[0] for step in range(data.shape[1])]).transpose(0, 1)


def over_time(x: Tensor) -> Tensor:
    return x.unsqueeze(1).expand(-1, STEPS, *x.shape[1:])


@over_kinds_of(SINGLE)
def test_outputs_are_those_of_single_steps(net: Net) -> None:
    snn, (x,) = spiking(net), net.inputs()
    with torch.no_grad():
        steps = [snn.step(x) for _ in range(STEPS)]
    assert torch.equal(run(NeuroBenchNet(snn), over_time(x)), torch.stack(steps, dim=1))


def test_batches_leave_no_trace_in_each_other() -> None:
    net = some_net()
    adapter, first, second = NeuroBenchNet(spiking(net)), *(net.inputs(3, s)[0] for s in (1, 2))
    alone = run(adapter, over_time(second))
    run(adapter, over_time(first))
    assert torch.equal(run(adapter, over_time(second)), alone)
    run(adapter, over_time(net.inputs(5)[0]))  # of another size
    assert torch.equal(run(adapter, over_time(second)), alone)


def test_without_a_reset_the_sequence_goes_on() -> None:
    net = some_net()
    adapter, (x,) = NeuroBenchNet(spiking(net)), net.inputs()
    adapter(x)
    before = adapter(x)[1]
    assert not torch.equal(adapter(x)[1], before)
    with pytest.raises(StateError, match="changed from"):
        adapter(x[:1])


def test_the_second_value_is_the_last_neurons_membrane() -> None:
    net = some_net()
    snn, (x,) = spiking(net), net.inputs()
    _, mem = NeuroBenchNet(snn)(x)
    assert torch.equal(mem, snn.neurons[snn.layers[-1].name].mem)
    assert bool(mem.any())


def test_no_gradients_are_recorded() -> None:
    net = some_net()
    output, mem = NeuroBenchNet(spiking(net))(net.inputs()[0])
    assert not output.requires_grad
    assert not mem.requires_grad


def test_it_hooks_onto_every_layer_that_neurobench_looks_for() -> None:
    """Each once a step, on inputs of -1, 0 and +1 wherever neurons come directly before."""
    ann = ecl.prepare(nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 2)))
    ann.get_submodule("1").threshold = 0.3
    adapter, seen = NeuroBenchNet(ecl.convert(ann, unit_spikes=True)), []
    layers = [layer for layer in adapter.modules() if isinstance(layer, nn.Linear)]
    for layer in layers:
        layer.register_forward_pre_hook(lambda m, args: seen.append((m, args[0])))
    run(adapter, over_time(torch.randn(5, 6)))
    assert [m for m, _ in seen] == layers * STEPS
    values = torch.stack([x for m, x in seen if m is layers[1]])
    assert set(values.unique().tolist()) <= {-1.0, 0.0, 1.0}
    assert bool(values.any())


def test_spikes_worth_their_threshold_are_refused() -> None:
    snn = ecl.convert(some_net().prepared())
    with pytest.raises(ConfigError, match="unit_spikes=True"):
        NeuroBenchNet(snn)


def test_a_network_without_dual_threshold_neurons_is_refused() -> None:
    handlers = {ecl.ThresholdClip: lambda module, site: nn.Identity()}
    ann = nn.Sequential(nn.Linear(2, 2), ecl.ThresholdClip(4, 1.0))
    with pytest.raises(ConfigError, match="dual-threshold"):
        NeuroBenchNet(ecl.convert(ann, unit_spikes=True, handlers=handlers))


def test_an_output_that_cannot_be_stacked_is_refused() -> None:
    ann = wired(lambda m, x: {"logits": m.clip(x)}, clip=ecl.ThresholdClip(4, 1.0))
    with pytest.raises(InputError, match="got dict"):
        NeuroBenchNet(ecl.convert(ann, unit_spikes=True))(torch.rand(2, 3))


def test_several_inputs_are_refused() -> None:
    net = next(net for net in BY_NAME.values() if isinstance(net.shape[0], tuple))
    with pytest.raises(InputError, match="takes 2 input"):
        NeuroBenchNet(spiking(net))(net.inputs()[0])
