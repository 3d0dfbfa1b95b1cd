"""Networks with signed clips: convert, save and load, verify, energy, unit spikes; refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import SpikingNetwork, ThresholdClip
from snntorch_ecl.errors import ConfigError, EclError, UnsupportedError


def network(**clip: Any) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), ThresholdClip(4, 0.8, signed=True, **clip), nn.Linear(8, 8),
        ThresholdClip(4, 0.5), nn.Linear(8, 3),
    ).eval()  # fmt: skip


def images() -> Tensor:
    return torch.randn(16, 6, generator=torch.Generator().manual_seed(1))


def unset(ann: nn.Module) -> nn.Module:
    for clip in ann.modules():
        if isinstance(clip, ThresholdClip):
            clip.unset()
    return ann


def first_clip_means(snn: SpikingNetwork, steps: int) -> Tensor:
    seen: list[Tensor] = []
    hook = snn.net.get_submodule("1").register_forward_hook(lambda m, i, out: seen.append(out))
    snn(images(), num_steps=steps)
    hook.remove()
    return seen[0].view(steps, -1, 8).mean(0) * snn.spike_worth("1")


@pytest.mark.parametrize("unit_spikes", [False, True])
def test_at_l_steps_the_first_layer_is_the_clip_and_negative(unit_spikes: bool) -> None:
    ann = network()
    means = first_clip_means(ecl.convert(ann, unit_spikes=unit_spikes), 4)
    torch.testing.assert_close(means, ann[:2](images()))  # type: ignore[index]
    assert (means < 0).sum() > 20


@pytest.mark.parametrize("unit_spikes", [False, True])
def test_a_saved_network_loads_and_spikes_equally(unit_spikes: bool, tmp_path: Path) -> None:
    snn = ecl.convert(network(), unit_spikes=unit_spikes)
    loaded = ecl.load(snn.save(tmp_path / "snn.safetensors"), network())
    assert loaded.neurons["1"].signed
    assert torch.equal(loaded(images(), num_steps=3), snn(images(), num_steps=3))


def test_verify_knows_negative_levels() -> None:
    ann, floats = network(), unset(network())
    result = ecl.verify(ecl.convert(ann), ann, [images()], num_steps=4, progress=False)
    assert (result.layers[0].exact, result.layers[0].silent) == (1.0, 0.0)
    result = ecl.verify(ecl.convert(ann), floats, [images()], num_steps=4, progress=False)
    beyond = floats[0](images()).abs() > 0.8  # type: ignore[index]
    assert result.layers[0].saturated == pytest.approx(float(beyond.float().mean()))
    assert beyond.any()


def test_energy_counts_negative_spikes() -> None:
    cost = ecl.energy(ecl.convert(network()), [images()], num_steps=4, progress=False)
    assert cost.layers[1].negative > 0.3 * cost.layers[1].spikes


def test_calibration_measures_the_size_of_values() -> None:
    ann = ecl.calibrate(unset(network()), [images()], method="max", progress=False)
    wanted = network()[0](images()).abs().max()  # type: ignore[index]
    torch.testing.assert_close(ann.get_submodule("1").threshold, wanted)


def test_a_per_channel_signed_clip() -> None:
    ann = unset(network())
    ann[1].per_channel = True  # type: ignore[index]
    ann = ecl.calibrate(ann, [images()], progress=False)
    assert ann.get_submodule("1").threshold.shape == (8,)
    means = first_clip_means(ecl.convert(ann), 4)
    torch.testing.assert_close(means, ann[:2](images()))  # type: ignore[index]


def test_neurons_that_never_fall_are_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"1 \(ThresholdClip\): signed, and negative_thresh"):
        ecl.convert(network(), negative_threshold=-math.inf)
    with pytest.raises(ConfigError, match="a signed neuron fires −1 at v < 0"):
        ecl.convert(network()).neurons["1"].negative_threshold = -math.inf


def test_two_event_lines_carry_signed_spikes() -> None:
    snn = ecl.convert(network(), unit_spikes=True)
    chip = ecl.two_channels(snn)
    torch.testing.assert_close(chip(images(), num_steps=3), snn(images(), num_steps=3))


def test_whole_numbers_refuse_signed_neurons_by_name() -> None:
    with pytest.raises(EclError, match=r"(?s)1 \(DualThreshold\).*signed"):
        ecl.to_integers(ecl.convert(network()))


def test_nir_refuses_signed_neurons_by_name() -> None:
    pytest.importorskip("nir")
    with pytest.raises(EclError, match=r"(?s)1 \(DualThreshold\).*signed clips"):
        ecl.to_nir(ecl.convert(network()), images()[:1])


def test_operands_that_are_never_negative_load_and_verify_as_well(tmp_path: Path) -> None:
    """Nothing in the file is signed, and yet ``prepare`` was told so."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.Softmax(1), nn.Linear(8, 3)
    ).eval()  # fmt: skip
    ann = ecl.calibrate(ecl.prepare(model, signed=True), [images()], progress=False)
    snn = ecl.convert(ann)
    assert list(snn.neurons) == ["1", "4_clip"]
    assert not any(neuron.signed for neuron in snn.neurons.values())
    loaded = ecl.load(snn.save(tmp_path / "snn.safetensors"), model)
    assert torch.equal(loaded(images(), num_steps=3), snn(images(), num_steps=3))
    assert len(ecl.verify(snn, model, [images()], num_steps=4, progress=False).layers) == 2
