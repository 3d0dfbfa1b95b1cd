"""A network copied, saved and loaded; a file of its settings."""

from __future__ import annotations

import copy
import io
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import snntorch
import torch
from snntorch import utils
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import SpikingNetwork
from tests.helpers.nets import BY_NAME, Net, over_kinds, spiking
from tests.helpers.networks import TYPICAL, convert, steps
from tests.helpers.parts import equal, set_thresholds

pytestmark = pytest.mark.usefixtures("seeded")


# ----------------------------------------------------------------------------------- copies, files


def pickled(snn: SpikingNetwork) -> SpikingNetwork:
    return pickle.loads(pickle.dumps(snn))


def saved_by_torch(snn: SpikingNetwork) -> SpikingNetwork:
    buffer = io.BytesIO()
    torch.save(snn, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("twin_of", [copy.deepcopy, pickled, saved_by_torch])
@pytest.mark.parametrize("name", TYPICAL)
def test_copies_made_in_mid_training_are_fresh_equal_and_independent(
    name: str, twin_of: Any
) -> None:
    snn, x = convert(name, negative_threshold=-0.25), BY_NAME[name].inputs()
    first = steps(snn, *x)
    twin = twin_of(snn)
    assert equal(steps(twin, *x), first)
    steps(twin, *(4 * v for v in BY_NAME[name].inputs(seed=5)))
    utils.reset(twin)
    assert equal(steps(twin, *x), first)
    assert twin.layers == snn.layers
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    snn.reset()
    assert equal(steps(snn, *x), first)


def test_state_dict_goes_round_into_other_weights_and_thresholds() -> None:
    snn, x = convert("residual"), BY_NAME["residual"].inputs()
    other = copy.deepcopy(snn)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            tensor.fill_(1)
    steps(snn, *x)
    other.load_state_dict(snn.state_dict())
    assert equal(other(*x, num_steps=3), snn(*x, num_steps=3))


@over_kinds
def test_a_saved_network_gives_the_same_bits(net: Net, tmp_path: Path) -> None:
    snn = spiking(net.name)[1]
    path = snn.save(tmp_path / "deep" / "net.safetensors")
    loaded = ecl.load(path, net.model())
    assert path == tmp_path / "deep" / "net.safetensors"
    with torch.no_grad():
        assert equal(loaded(*net.inputs(), num_steps=3), snn(*net.inputs(), num_steps=3))
    assert loaded.layers == snn.layers


def test_loading_leaves_the_model_alone_and_takes_a_prepared_one_too(tmp_path: Path) -> None:
    snn, net = convert("residual"), BY_NAME["residual"]
    path = snn.save(tmp_path / "net.safetensors")
    ann = ecl.prepare(net.model())
    before = copy.deepcopy(ann.state_dict())
    loaded = ecl.load(path, ann)
    assert equal(loaded(*net.inputs(), num_steps=2), snn(*net.inputs(), num_steps=2))
    after = ann.state_dict()
    assert all(torch.equal(before[k].nan_to_num(), after[k].nan_to_num()) for k in before)


def test_changes_of_single_layers_survive_a_file(tmp_path: Path) -> None:
    snn, net = convert("residual"), BY_NAME["residual"]
    values = (-math.inf, -0.5, 0.0, -1e-3, -0.25)
    for index, neuron in enumerate(snn.neurons.values()):
        neuron.negative_threshold = values[index]
        neuron.initial_membrane = index / 8
    loaded = ecl.load(snn.save(tmp_path / "net.safetensors"), net.model())
    assert [n.negative_threshold for n in loaded.neurons.values()] == list(values)
    assert [n.initial_membrane for n in loaded.neurons.values()] == [0, 1 / 8, 2 / 8, 3 / 8, 4 / 8]
    assert equal(loaded(*net.inputs(), num_steps=4), snn(*net.inputs(), num_steps=4))


def test_thresholds_per_channel_survive_a_file(tmp_path: Path) -> None:
    net = BY_NAME["conv + bn"]
    ann = ecl.prepare(net.model(), per_channel=True).train()
    ann(*net.inputs(8))
    snn = ecl.convert(ann)
    loaded = ecl.load(snn.save(tmp_path / "net.safetensors"), net.model())
    assert [tuple(n.threshold.shape) for n in loaded.neurons.values()] == [(4,), (4,)]
    assert equal(loaded(*net.inputs(), num_steps=4), snn(*net.inputs(), num_steps=4))


@pytest.mark.parametrize("name", TYPICAL)
def test_the_state_dict_holds_weights_and_settings_but_no_sequence(name: str) -> None:
    snn = convert(name)
    before = list(snn.state_dict())
    steps(snn, *BY_NAME[name].inputs())
    assert list(snn.state_dict()) == before
    kept = {"weight", "bias", "threshold", "graded_spikes_factor", "reset_mechanism_val", "beta"}
    assert {key.rpartition(".")[2] for key in before} <= kept


def test_a_surrogate_is_given_anew_at_loading(tmp_path: Path) -> None:
    path = convert("sequential").save(tmp_path / "net.safetensors")
    slope = snntorch.surrogate.fast_sigmoid()
    loaded = ecl.load(path, BY_NAME["sequential"].model(), spike_grad=slope)
    assert {n.spike_grad for n in loaded.neurons.values()} == {slope}


def test_tied_weights_can_be_saved(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        model[2].weight = model[0].weight
        return model

    ann = ecl.prepare(tied())
    set_thresholds(ann, torch.randn(8, 4))
    snn, x = ecl.convert(ann), torch.randn(3, 4)
    loaded = ecl.load(snn.save(tmp_path / "net.safetensors"), tied())
    assert torch.equal(loaded(x, num_steps=2), snn(x, num_steps=2))


def test_a_custom_neuron_is_saved_and_loaded_with_its_handler(tmp_path: Path) -> None:
    class Spiking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    def handlers(beta: float) -> dict[type[nn.Module], Any]:
        return {Spiking: lambda m, site: snntorch.Leaky(beta=beta, init_hidden=True)}

    model = nn.Sequential(nn.Linear(4, 8), ecl.ThresholdClip(4, 1.0), Spiking(), nn.Linear(8, 2))
    snn, x = ecl.convert(model, handlers=handlers(0.75)), torch.rand(3, 4)
    path = snn.save(tmp_path / "net.safetensors")
    loaded = ecl.load(path, model, handlers=handlers(0.25))
    assert torch.equal(loaded(x, num_steps=5), snn(x, num_steps=5))


@pytest.mark.parametrize("fold", [True, False])
def test_files_remember_whether_batch_norms_were_kept(fold: bool, tmp_path: Path) -> None:
    net = BY_NAME["residual"]
    snn = ecl.convert(net.prepared(), fold_batchnorms=fold)
    loaded = ecl.load(snn.save(tmp_path / "net.safetensors"), net.build())
    assert loaded.state_dict().keys() == snn.state_dict().keys()
    assert torch.equal(loaded(*net.inputs(), num_steps=4), snn(*net.inputs(), num_steps=4))


def test_a_model_that_does_not_prepare_is_an_error_of_the_file(tmp_path: Path) -> None:
    path = convert("sequential").save(tmp_path / "a")
    with pytest.raises(ecl.errors.CheckpointError, match="does not convert"):
        ecl.load(path, nn.Linear(4, 2))
