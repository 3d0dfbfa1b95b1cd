"""Observers: what they are shown is what hooks see of a whole run, however the run is cut."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.measurement import exit_curve
from snntorch_ecl.network import Observer, Seen, _pieces
from tests.helpers.nets import BY_NAME, Net, over_kinds, spiking
from tests.helpers.parts import wired

STEPS = 5


class Recorder(Observer):
    """Puts together what it is shown, layer by layer, to ``[T, B, ...]``."""

    def __init__(self, layers: Any) -> None:
        super().__init__(layers)
        self.groups: list[tuple[Tensor, ...]] = []
        self.runs: list[dict[str, list[Tensor]]] = []

    def begin(self, *inputs: Tensor) -> None:
        self.groups.append(inputs)
        self.runs.append(defaultdict(list))

    def see(self, seen: Seen) -> None:
        steps = seen.num_steps if seen.timed else 1
        self.runs[-1][seen.call].append(seen.output.unflatten(0, (steps, -1)))

    def outputs(self) -> dict[str, Tensor]:
        calls = self.runs[0]
        return {call: torch.cat([torch.cat(run[call]) for run in self.runs], 1) for call in calls}


@pytest.fixture(params=[1, 2**10, 2**30], ids=["in small parts", "in parts", "whole"])
def room(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """How large a tensor may be, in bytes, before a run is cut."""
    monkeypatch.setattr(_pieces, "_ROOM_ON_CPU", request.param)
    return request.param


def hooked(snn: ecl.SpikingNetwork, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Spikes of every neuron in one whole run, by forward hooks: the truth from outside."""
    found: dict[str, Tensor] = {}
    handles = [
        neuron.register_forward_hook(
            lambda m, a, out, name=name: found.update({name: out.unflatten(0, (STEPS, -1))})
        )
        for name, neuron in snn.neurons.items()
    ]
    snn(*inputs, num_steps=STEPS)
    for handle in handles:
        handle.remove()
    return found


@over_kinds
@torch.no_grad()
def test_observers_see_every_step_of_every_image_once(net: Net, room: int) -> None:
    snn, inputs = spiking(net.name)[1], net.inputs()
    expected = hooked(snn, inputs)
    recorder = Recorder(snn.neurons)
    logits = snn.logits_over_time(*inputs, num_steps=STEPS, observers=[recorder])
    found = recorder.outputs()
    names = {node.name: node.target for node in snn.net.graph.nodes}
    assert {names[call] for call in found} == set(expected)
    for call, spikes in found.items():
        assert torch.allclose(spikes, expected[names[call]], atol=1e-6)
    for index, whole in enumerate(inputs):
        assert torch.equal(torch.cat([group[index] for group in recorder.groups]), whole)
    plain = snn.logits_over_time(*inputs, num_steps=STEPS)
    for own, other in zip(_leaves(logits), _leaves(plain), strict=True):
        torch.testing.assert_close(own, other)


@torch.no_grad()
def test_observers_see_a_sequence_as_the_loop_by_hand_does(room: int) -> None:
    snn = spiking("residual")[1]
    sequence = torch.rand(STEPS, *BY_NAME["residual"].inputs()[0].shape)
    expected: dict[str, list[Tensor]] = defaultdict(list)
    handles = [
        neuron.register_forward_hook(lambda m, a, out, name=name: expected[name].append(out))
        for name, neuron in snn.neurons.items()
    ]
    snn.reset()
    for images in sequence:
        snn.step(images)
    for handle in handles:
        handle.remove()
    recorder = Recorder(snn.neurons)
    logits = snn.forward_steps(sequence, observers=[recorder])
    names = {node.name: node.target for node in snn.net.graph.nodes}
    found = {names[call]: spikes for call, spikes in recorder.outputs().items()}
    assert found.keys() == expected.keys()
    for name, spikes in found.items():
        assert torch.allclose(spikes, torch.stack(expected[name]), atol=1e-6)
    torch.testing.assert_close(logits, snn.forward_steps(sequence))


def _leaves(value: Any) -> list[Tensor]:
    return torch.utils._pytree.tree_leaves(value)


@torch.no_grad()
def test_each_call_of_a_shared_layer_is_shown_by_itself() -> None:
    conv = nn.Conv2d(3, 3, 1)
    net = wired(lambda m, x: m.conv(m.relu(m.conv(x))), conv=conv, relu=ecl.ThresholdClip(4, 1.0))
    snn = ecl.convert(net.eval())
    recorder = Recorder(["conv"])
    snn.logits_over_time(torch.rand(2, 3, 4, 4), num_steps=3, observers=[recorder])
    shapes = [tuple(output.shape) for output in recorder.outputs().values()]
    assert shapes == [(1, 2, 3, 4, 4), (3, 2, 3, 4, 4)]  # once on the image, then at every step


def test_a_failing_observer_leaves_the_network_as_it_was() -> None:
    class Fails(Observer):
        def see(self, seen: Seen) -> None:
            raise KeyError("mine")

    snn, inputs = spiking("residual")[1], BY_NAME["residual"].inputs()
    before = snn(*inputs, num_steps=3)
    with pytest.raises(KeyError, match="mine"):
        snn.logits_over_time(*inputs, num_steps=3, observers=[Fails(snn.neurons)])
    assert torch.equal(snn(*inputs, num_steps=3), before)


def test_no_verb_hooks_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    net = BY_NAME["residual"]
    ann, snn = net.prepared(), spiking("residual")[1]
    data = [(net.inputs()[0], torch.tensor([0, 1, 0]))]
    own = {id(m) for m in snn.modules()}
    register = nn.Module.register_forward_hook

    def guarded(module: nn.Module, *args: Any, **options: Any) -> Any:
        assert id(module) not in own, "a verb hooks the network"
        return register(module, *args, **options)

    monkeypatch.setattr(nn.Module, "register_forward_hook", guarded)
    monkeypatch.setattr(nn.Module, "register_forward_pre_hook", guarded)
    settings: dict[str, Any] = {"num_steps": 2, "progress": False}
    ecl.evaluate(snn, data, ann=ann, **settings)
    ecl.verify(snn, ann, data, **settings)
    ecl.energy(snn, data, **settings)
    ecl.compensate(snn, ann, data, **settings)
    exit_curve(snn, data, max_steps=2, progress=False)
    snn.summary(net.inputs()[0])
