"""Networks of unit spikes in files, and under every verb that measures or corrects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.conversion._convert import converted
from snntorch_ecl.errors import CheckpointError
from snntorch_ecl.network._files import NETWORK as _FORMAT
from snntorch_ecl.network._files import read_tensors, write_tensors
from tests.helpers.compilers import only_traced
from tests.helpers.nets import BY_NAME, Net, over_kinds, over_kinds_folded_and_not
from tests.helpers.parts import clips_of, close, conv, wired
from tests.helpers.unit_spikes import clip, per_channel, scales

pytestmark = pytest.mark.usefixtures("seeded_without_gradients")


# --------------------------------------------------------------------------------------- files


@over_kinds_folded_and_not
def test_files_round_trip(net: Net, fold: bool, tmp_path: Path) -> None:
    unit = ecl.convert(net.prepared(), unit_spikes=True, fold_batchnorms=fold)
    loaded = ecl.load(unit.save(tmp_path / "net.safetensors"), net.model())
    assert loaded.unit_spikes
    assert scales(loaded) == scales(unit)
    wanted = unit(*net.inputs(), num_steps=3)
    assert close(loaded(*net.inputs(), num_steps=3), wanted, tolerance=0.0)


@over_kinds
def test_files_with_one_threshold_a_channel_round_trip(net: Net, tmp_path: Path) -> None:
    unit = ecl.convert(per_channel(net).float(), unit_spikes=True)
    path = unit.save(tmp_path / "net.safetensors")
    for model in (net.model(), net.prepared()):
        loaded = ecl.load(path, model)
        assert scales(loaded) == scales(unit)
        wanted = unit(*net.inputs(), num_steps=3)
        assert close(loaded(*net.inputs(), num_steps=3), wanted, tolerance=0.0)


def tied_convolutions() -> nn.Module:
    model = nn.Sequential(conv(2, 2), nn.ReLU(), conv(2, 2, bias=False), nn.BatchNorm2d(2),
                          nn.ReLU(), conv(2, 2, bias=False), nn.BatchNorm2d(2))  # fmt: skip
    model[5].weight = model[2].weight
    return model.eval()


@pytest.mark.parametrize("fold", ["at conversion", "later", "never"])
def test_tied_weights_that_folding_unties_round_trip(fold: str, tmp_path: Path) -> None:
    ann, x = ecl.prepare(tied_convolutions()), torch.rand(2, 2, 5, 5)
    for c in clips_of(ann).values():
        c.threshold = 0.25
    unit = ecl.convert(ann, unit_spikes=True, fold_batchnorms=fold == "at conversion")
    if fold == "later":
        unit.fold_batchnorms()
    loaded = ecl.load(unit.save(tmp_path / "net.safetensors"), tied_convolutions())
    assert torch.equal(loaded(x, num_steps=3), unit(x, num_steps=3))


def rewritten(path: Path, change: Any) -> Path:
    tensors, metadata = read_tensors(path, _FORMAT)
    settings = json.loads(metadata["settings"])
    change(settings)
    return write_tensors(path, tensors, {**metadata, "settings": json.dumps(settings)})


@pytest.mark.parametrize("damage", [{"unit_spikes": "yes"}, {"unit_spikes": 1}, {"norms": "some"}])
def test_a_damaged_setting_is_named(damage: dict[str, Any], tmp_path: Path) -> None:
    net = BY_NAME["sequential"]
    path = ecl.convert(net.prepared()).save(tmp_path / "a")
    rewritten(path, lambda settings: settings.update(damage))
    ((name, value),) = damage.items()
    with pytest.raises(CheckpointError, match=f"{name}={value!r}"):
        ecl.load(path, net.model())


@pytest.mark.parametrize("norms", ["folded", "kept", "folded later"])
def test_the_file_says_how_its_network_was_converted(
    norms: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = BY_NAME["residual"]
    snn = ecl.convert(net.prepared(), fold_batchnorms=norms == "folded")
    if norms == "folded later":
        snn.fold_batchnorms()
    path = snn.save(tmp_path / "a")
    calls: list[Any] = []

    def convert(ann: Any, config: Any, when: str, **options: Any) -> ecl.SpikingNetwork:
        calls.append(when)
        return converted(ann, config, when, **options)

    monkeypatch.setattr("snntorch_ecl.conversion._load.converted", convert)
    loaded = ecl.load(path, net.model())
    assert calls == ["folded" if norms == "folded" else "kept"]  # once: nothing is tried
    assert loaded.norms == norms
    assert torch.equal(loaded(*net.inputs(), num_steps=3), snn(*net.inputs(), num_steps=3))


# ------------------------------------------------------------------------------- what reads it


def both(net: Net) -> tuple[nn.Module, ecl.SpikingNetwork, ecl.SpikingNetwork, Tensor]:
    """In double precision, so that no spike hangs on a rounding."""
    ann = per_channel(net)
    x = net.inputs(16)[0].double()
    return ann, ecl.convert(ann), ecl.convert(ann, unit_spikes=True), x


@pytest.mark.parametrize("name", ["residual", "max-pool", "u-net"])
def test_verify_measures_the_same_errors(name: str) -> None:
    ann, plain, unit, x = both(BY_NAME[name])
    wanted = ecl.verify(plain, ann, [x], num_steps=4, progress=False)
    found = ecl.verify(unit, ann, [x], num_steps=4, progress=False)
    for a, b in zip(found.layers, wanted.layers, strict=True):
        assert (a.exact, a.saturated, a.silent) == (b.exact, b.saturated, b.silent)
        assert a.error == pytest.approx(b.error, rel=1e-6)


def test_evaluate_measures_the_same_errors_and_rates() -> None:
    ann, plain, unit, x = both(BY_NAME["residual"])
    data = [(x, torch.zeros(len(x), dtype=torch.long))]
    wanted = ecl.evaluate(plain, data, num_steps=4, ann=ann, progress=False)
    found = ecl.evaluate(unit, data, num_steps=4, ann=ann, progress=False)
    assert found.accuracy == wanted.accuracy
    for a, b in zip(found.layers, wanted.layers, strict=True):
        assert (a.spike_rate, a.negative_rate) == (b.spike_rate, b.negative_rate)
        assert a.error == pytest.approx(b.error, rel=1e-6)


def test_biases_and_steps_are_compensated_alike() -> None:
    ann, plain, unit, x = both(BY_NAME["residual"])
    for method in ("biases", "steps"):
        wanted, found = (
            ecl.compensate(snn, ann, [x], num_steps=3, method=method, progress=False)
            for snn in (plain, unit)
        )
        assert found.unit_spikes
        assert close(found(x, num_steps=3), wanted(x, num_steps=3), tolerance=1e-9)


def test_weights_are_compensated_as_well() -> None:
    """Directions of least squares differ, as the weights do; the error falls alike."""
    ann, plain, unit, x = both(BY_NAME["residual"])
    errors = []
    for snn in (plain, unit):
        better = ecl.compensate(snn, ann, [x], num_steps=3, progress=False)
        errors.append(float((better(x, num_steps=3) - ann(x)).norm()))
    before = float((plain(x, num_steps=3) - ann(x)).norm())
    assert max(errors) < 0.7 * before


def test_compensated_unit_networks_round_trip(tmp_path: Path) -> None:
    net = BY_NAME["residual"]
    ann, x = net.prepared(), net.inputs(8)[0]
    unit = ecl.convert(ann, unit_spikes=True)
    better = ecl.compensate(unit, ann, [x], num_steps=3, method="steps", progress=False)
    loaded = ecl.load(better.save(tmp_path / "net.safetensors"), net.model())
    assert loaded.unit_spikes
    assert torch.equal(loaded(x, num_steps=3), better(x, num_steps=3))


def test_energy_counted_by_hand() -> None:
    """Two neurons spike 2 and 4 times in 4 steps: into 2 synapses each, and past them."""
    ann = wired(_past, clip=clip(1.0), last=nn.Linear(2, 2))
    unit = ecl.convert(ann, unit_spikes=True)
    cost = ecl.energy(unit, [torch.tensor([[0.5, 1.0]])], num_steps=4, progress=False)
    layers = {layer.name: layer for layer in cost.layers}
    assert layers["last"].acs == 6 * 2
    scale = layers["clip_scale"]
    assert (scale.kind, scale.acs, scale.macs, scale.ann_macs) == ("Scale", 6, 0, 0)
    assert scale.parameters == 1
    assert cost.not_counted == ("add (add)",)


def _past(m: Any, x: Tensor) -> Tensor:
    y = m.clip(x)
    return m.last(y) + y


def test_what_lies_behind_a_scale_still_adds() -> None:
    """A linear layer that nothing tells the dimensions of reads one amplitude a channel."""
    ann = nn.Sequential(clip(0.5, 1.0), nn.Linear(2, 3))
    unit = ecl.convert(ann, unit_spikes=True)
    cost = ecl.energy(unit, [torch.tensor([[0.25, 1.0]])], num_steps=4, progress=False)
    layers = {layer.name: layer for layer in cost.layers}
    assert (layers["0_scale"].acs, layers["0_scale"].parameters) == (6, 2)
    assert (layers["1"].acs, layers["1"].macs) == (6 * 3, 0)
    assert cost.not_counted == ()


def test_a_scale_of_averages_multiplies() -> None:
    ann = wired(lambda m, x: m.pool(m.clip(m.stem(x))) + 1.0, stem=conv(2, 2), clip=clip(0.5),
                pool=nn.AvgPool2d(2))  # fmt: skip
    unit = ecl.convert(ann, unit_spikes=True)
    cost = ecl.energy(unit, [torch.randn(5, 2, 4, 4)], num_steps=4, progress=False)
    scale = {layer.name: layer for layer in cost.layers}["pool_scale"]
    assert scale.acs == 0
    assert scale.macs > 0


def test_gradients_reach_every_layer() -> None:
    net = BY_NAME["residual"]
    unit = ecl.convert(net.prepared(), unit_spikes=True)
    with torch.enable_grad():
        unit(*net.inputs(), num_steps=2).square().sum().backward()
    assert all(float(p.grad.abs().max()) > 0 for p in unit.parameters())


def test_a_compiled_network_emits_the_same_spikes() -> None:
    net = BY_NAME["F.max_pool2d"]
    unit = ecl.convert(net.prepared(), unit_spikes=True)
    wanted = unit(*net.inputs(), num_steps=2)
    with only_traced():
        assert torch.equal(unit.compile()(*net.inputs(), num_steps=2), wanted)
