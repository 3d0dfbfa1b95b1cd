"""Data as users give it, and networks exchanged: one clear error, wherever it goes in."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl._util.batches import images_in, pairs_in
from snntorch_ecl.errors import ConfigError, DataError
from snntorch_ecl.measurement._early_exit import exit_curve

from ..helpers.parts import wired


def ann() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), ecl.ThresholdClip(4, 1.0), nn.Linear(6, 2)).eval()


def two_inputs() -> nn.Module:
    return wired(
        lambda m, x, y: m.b(m.clip(m.a(x) + y)),
        a=nn.Linear(4, 6),
        clip=ecl.ThresholdClip(4, 1.0),
        b=nn.Linear(6, 2),
    ).eval()


ENTRIES: dict[str, Callable[[nn.Module, Any], object]] = {
    "calibrate": lambda net, data: ecl.calibrate(net, data),
    "compensate": lambda net, data: ecl.compensate(ecl.convert(net), net, data, num_steps=2),
    "verify": lambda net, data: ecl.verify(ecl.convert(net), net, data, num_steps=2),
    "energy": lambda net, data: ecl.energy(ecl.convert(net), data, num_steps=2),
}
LABELLED: dict[str, Callable[[nn.Module, Any], object]] = {
    "evaluate": lambda net, data: ecl.evaluate(ecl.convert(net), data, num_steps=2),
    "exit_curve": lambda net, data: exit_curve(ecl.convert(net), data, max_steps=2),
}


@pytest.mark.parametrize("entry", [*ENTRIES, *LABELLED])
def test_one_tensor_is_no_batches(entry: str) -> None:
    with pytest.raises(DataError, match=r"one tensor of shape \[5, 4\].*\[images\]"):
        {**ENTRIES, **LABELLED}[entry](ann(), torch.rand(5, 4))


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_network_with_two_inputs_is_refused(entry: str) -> None:
    with pytest.raises(ConfigError, match=f"{entry} feeds networks with one input; .* 2 "):
        ENTRIES[entry](two_inputs(), [torch.rand(5, 4)])


@pytest.mark.parametrize("entry", LABELLED)
@pytest.mark.parametrize("labels", [torch.zeros(5, 1, dtype=torch.int64), torch.zeros(5)])
def test_labels_of_another_form_are_refused(entry: str, labels: Tensor) -> None:
    with pytest.raises(DataError, match=r"labels must be class numbers of shape \[5\]"):
        LABELLED[entry](ann(), [(torch.rand(5, 4), labels)])


@pytest.mark.parametrize(
    "call",
    [
        lambda net, snn, x: ecl.verify(net, snn, [x], num_steps=2),
        lambda net, snn, x: ecl.compensate(net, snn, [x], num_steps=2),
        lambda net, snn, x: ecl.energy(net, [x], num_steps=2),
        lambda net, snn, x: ecl.evaluate(net, [(x, x.argmax(1))], num_steps=2),
        lambda net, snn, x: exit_curve(net, [(x, x.argmax(1))], max_steps=2),
    ],
)
def test_an_ann_in_place_of_the_spiking_network_is_named(call: Any) -> None:
    with pytest.raises(ConfigError, match=r"snn must be a SpikingNetwork.*got a"):
        call(ann(), ecl.convert(ann()), torch.rand(5, 4))


@pytest.mark.parametrize(
    "call",
    [
        lambda net, snn, x: ecl.verify(snn, net, [x], num_steps=2),
        lambda net, snn, x: ecl.energy(snn, [x], num_steps=2),
        lambda net, snn, x: ecl.evaluate(snn, [(x, x.flatten(1).argmax(1) % 3)], num_steps=2),
        lambda net, snn, x: exit_curve(snn, [(x, x.flatten(1).argmax(1) % 3)], max_steps=2),
        lambda net, snn, x: snn.predict(x, max_steps=2),
        lambda net, snn, x: snn.summary(x),
    ],
)
def test_measuring_leaves_a_network_in_training_as_it_was(call: Any) -> None:
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), ecl.ThresholdClip(4, 1.0), nn.Flatten(),
        nn.Linear(16, 3),
    ).eval()  # fmt: skip
    snn = ecl.convert(net, fold_batchnorms=False).train()
    before = {name: value.clone() for name, value in snn.state_dict().items()}
    call(net, snn, torch.rand(5, 2, 4, 4))
    assert all(torch.equal(value, before[name]) for name, value in snn.state_dict().items())
    assert all(module.training for module in snn.modules())
    assert all(int(neuron.spike_count.sum()) == 0 for neuron in snn.neurons.values())


def test_images_are_found_in_whatever_a_loader_gives() -> None:
    x = torch.rand(3, 2)
    for batch in (x, (x, 1), [x], {"pixels": x}):
        assert next(iter(images_in([batch], key="pixels"))) is x
    assert next(iter(pairs_in([(x, torch.arange(3))])))[0] is x


def test_a_compiled_network_is_a_spiking_one() -> None:
    snn = torch.compile(ecl.convert(ann()), backend="eager")
    x = torch.rand(5, 4)
    assert ecl.evaluate(snn, [(x, x.argmax(1) % 2)], num_steps=2, progress=False).samples == 5


@pytest.mark.parametrize(
    ("labels", "remedy"),
    [
        (torch.eye(5, 2).long(), r"labels\.argmax\(1\)"),
        (torch.eye(5, 2), r"labels\.argmax\(1\)"),
        (torch.zeros(5, 1).long(), r"labels\.squeeze\(1\)"),
        (torch.rand(5), r"regression.*snn\.logits_over_time"),
        (torch.rand(5, 3), r"regression.*snn\.logits_over_time"),
        (torch.zeros(5, 8, 8).long(), r"segmentation.*snn\.logits_over_time"),
        (torch.zeros(4).long(), r"sequences=True"),
    ],
)
def test_targets_of_other_tasks_are_told_what_to_do(labels: Tensor, remedy: str) -> None:
    with pytest.raises(DataError, match=rf"batch 0: labels must be class numbers.*{remedy}"):
        list(pairs_in([(torch.rand(5, 4), labels)]))


@pytest.mark.parametrize(
    ("batch", "got"),
    [
        ({"x": torch.rand(5, 4), "y": torch.zeros(5)}, "a dict with 'x', 'y'. Name them"),
        ((torch.rand(5, 4), [0, 1]), r"a tuple of \(Tensor, list\)\. Choose and convert"),
        ([torch.rand(5, 4)] * 3, r"a list of \(Tensor, Tensor, Tensor\)\. Choose and convert"),
    ],
)
def test_batches_that_are_no_pairs_are_told_how_to_make_them(batch: Any, got: str) -> None:
    with pytest.raises(DataError, match=got):
        list(pairs_in([batch]))
