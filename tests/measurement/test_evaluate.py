"""evaluate against a slow reference that runs image by image and step by step."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from tests.helpers.evaluations import T, data, made, run
from tests.helpers.nets import BY_NAME, Net
from tests.helpers.parts import clips_of

NETS = [
    "sequential", "residual", "max-pool overlapping", "bn of a shared conv",
    "relu under two names",
]  # fmt: skip


# ------------------------------------------------------------------------------------ reference


class Reference:
    """The same figures from single images, single steps and plain Python sums."""

    def __init__(
        self, snn: ecl.SpikingNetwork, ann: nn.Module, batches: list[tuple[Tensor, Tensor]]
    ) -> None:
        self.right, self.agreed, self.ann_right, self.samples = [0] * T, [0] * T, 0, 0
        self.layers = {name: [0, 0, 0, 0.0, 0.0] for name in snn.neurons}
        for images, labels in batches:
            for image, label in zip(images, labels.tolist(), strict=True):
                self.add(snn, ann.eval(), image.unsqueeze(0), label)

    @torch.no_grad()
    def add(self, snn: ecl.SpikingNetwork, ann: nn.Module, x: Tensor, label: int) -> None:
        activations: dict[str, Tensor] = {}
        watch(clips_of(ann), activations, lambda: activations.update(out=ann(x)))
        ann_choice = activations["out"].argmax().item()
        totals = {name: torch.zeros(()) for name in snn.neurons}
        summed = torch.zeros(())
        snn.reset()
        for t in range(T):
            spikes: dict[str, Tensor] = {}
            watch(snn.neurons, spikes, lambda spikes=spikes: spikes.update(out=snn.step(x)))
            summed = summed + spikes["out"]
            self.right[t] += summed.argmax().item() == label
            self.agreed[t] += summed.argmax().item() == ann_choice
            for name, counts in self.layers.items():
                totals[name] = totals[name] + spikes[name]
                for value in spikes[name].flatten().tolist():
                    counts[0] += value != 0
                    counts[1] += value < 0
                    counts[2] += 1
        for name, counts in self.layers.items():
            mean, truth = (
                (totals[name] / T).flatten().tolist(),
                activations[name].flatten().tolist(),
            )
            counts[3] += sum((a - b) ** 2 for a, b in zip(mean, truth, strict=True))
            counts[4] += sum(b**2 for b in truth)
        self.ann_right += ann_choice == label
        self.samples += 1


def watch(modules: dict[str, nn.Module], into: dict[str, Tensor], call: Any) -> None:
    hooks = [
        module.register_forward_hook(lambda m, args, out, name=name: into.update({name: out}))
        for name, module in modules.items()
    ]
    call()
    for hook in hooks:
        hook.remove()


# --------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize("name", NETS)
def test_every_figure_equals_the_reference(name: str) -> None:
    net, ann, snn = made(name)
    batches = data(net, (4, 2))
    result, truth = run(snn, batches, ann), Reference(snn, ann, batches)
    assert (result.samples, result.num_steps) == (6, T)
    assert result.accuracy == pytest.approx([n / 6 for n in truth.right])
    assert result.agreement == pytest.approx([n / 6 for n in truth.agreed])
    assert result.ann_accuracy == pytest.approx(truth.ann_right / 6)
    assert [layer.name for layer in result.layers] == list(truth.layers)
    for layer, (spikes, negative, elements, error, norm) in zip(
        result.layers, truth.layers.values(), strict=True
    ):
        assert layer.spike_rate == pytest.approx(spikes / elements)
        assert layer.negative_rate == pytest.approx(negative / elements)
        assert layer.error == pytest.approx(math.sqrt(error / norm), rel=1e-3)


def test_the_figures_tell_something() -> None:
    """The networks above do spike, take spikes back, err, and change their mind."""
    results = [run(made(name)[2], data(BY_NAME[name]), made(name)[1]) for name in NETS]
    layers = [layer for result in results for layer in result.layers]
    assert all(0 < layer.spike_rate <= 1 for layer in layers)
    assert any(layer.negative_rate > 0 for layer in layers)
    assert all(layer.negative_rate < layer.spike_rate for layer in layers)
    assert any(layer.error > 0.01 for layer in layers)
    assert any(len(set(result.agreement)) > 1 for result in results)
    assert any(result.accuracy != result.agreement for result in results)


@pytest.mark.parametrize("name", NETS)
def test_figures_do_not_depend_on_how_the_data_is_batched(name: str) -> None:
    net, ann, snn = made(name)
    one, two = (run(snn, data(net, sizes), ann).to_dict() for sizes in ((6,), (4, 2)))
    for key in ("samples", "accuracy", "agreement", "ann_accuracy"):
        assert one[key] == pytest.approx(two[key])
    for a, b in zip(one["layers"], two["layers"], strict=True):
        assert {**a, "name": 0} == pytest.approx({**b, "name": 0}, rel=1e-4)


def test_without_an_ann_what_it_would_tell_is_open() -> None:
    net, ann, snn = made("sequential")
    result, full = run(snn, data(net)), run(snn, data(net), ann)
    assert result.ann_accuracy is None
    assert result.agreement is None
    assert {layer.error for layer in result.layers} == {None}
    assert result.accuracy == full.accuracy
    assert [layer.spike_rate for layer in result.layers] == [la.spike_rate for la in full.layers]


@pytest.mark.parametrize("name", NETS)
def test_the_relu_network_serves_as_ann(name: str) -> None:
    """With thresholds above all activations it is the same as the prepared network."""
    net = BY_NAME[name]
    ann = net.prepared(levels=None)
    snn = ecl.convert(ann)
    batches = [(net.inputs(8)[0], torch.arange(8) % 3)]
    prepared, relu = run(snn, batches, ann), run(snn, batches, net.model())
    assert relu.ann_accuracy == prepared.ann_accuracy
    assert relu.agreement == prepared.agreement
    for a, b in zip(prepared.layers, relu.layers, strict=True):
        assert a.error == pytest.approx(b.error, rel=1e-4)
        assert a.error is not None


def test_a_layer_that_is_silent_in_the_ann_has_no_error() -> None:
    ann = nn.Sequential(nn.Linear(2, 3), ecl.ThresholdClip(4, 1.0), nn.Linear(3, 2))
    nn.init.constant_(ann[0].weight, 0)
    nn.init.constant_(ann[0].bias, -1)
    result = run(ecl.convert(ann), [(torch.rand(2, 2), torch.tensor([0, 1]))], ann)
    (layer,) = result.layers
    assert (layer.error, layer.spike_rate, layer.negative_rate) == (None, 0, 0)


def test_a_layer_that_nothing_reads_does_not_stop_the_rest() -> None:
    class Unread(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)
            self.used, self.unread = ecl.ThresholdClip(4, 1.0), ecl.ThresholdClip(4, 1.0)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            self.unread(x)
            return self.b(self.used(x))

    result = run(ecl.convert(Unread()), data(BY_NAME["sequential"]))
    assert "used" in [layer.name for layer in result.layers]


# ------------------------------------------------------------------------------ leaves no trace


def breaking(net: Net) -> Iterator[tuple[Tensor, Tensor]]:
    yield from data(net)
    raise OSError("the disk is gone")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("reference", ["prepared", "relu"])
def test_hooks_and_modes_are_as_before_even_when_the_data_fails(
    fails: bool, reference: str
) -> None:
    net, prepared, snn = made("residual")
    ann = (prepared if reference == "prepared" else net.model()).train()
    ann.get_submodule("2").eval()
    modes = {name: m.training for name, m in ann.named_modules()}
    state = copy.deepcopy(ann.state_dict())
    if fails:
        with pytest.raises(OSError, match="the disk is gone"):
            run(snn, breaking(net), ann)
    else:
        run(snn, data(net), ann)
    assert not [m for m in (*ann.modules(), *snn.modules()) if m._forward_hooks]
    assert {name: m.training for name, m in ann.named_modules()} == modes
    assert all(torch.equal(state[k], v) for k, v in ann.state_dict().items())
    snn.step(*net.inputs(2))  # another batch size: no state is left


def test_a_network_in_training_mode_is_evaluated_without_changing_it() -> None:
    net, ann, snn = made("bn of a shared conv")
    expected = run(snn, data(net), ann)
    snn.train()
    state = copy.deepcopy(snn.state_dict())
    assert run(snn, data(net), ann) == expected
    assert all(torch.equal(state[k], v) for k, v in snn.state_dict().items())
    assert snn.training


def test_training_goes_on_after_an_evaluation() -> None:
    net, _, snn = made("residual")
    run(snn, data(net))
    for call in (lambda: snn.step(*net.inputs(3)), lambda: snn(*net.inputs(), num_steps=2)):
        snn.zero_grad()
        call().sum().backward()
        assert all(weight.grad is not None for weight in snn.parameters())
