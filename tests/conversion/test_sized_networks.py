"""Networks whose spikes have several sizes: every verb works on them, or says why not."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import functional as F
from snntorch_ecl.errors import CheckpointError, ConfigError
from snntorch_ecl.hardware import NeuroBenchNet
from snntorch_ecl.measurement import exit_curve
from tests.helpers import oracles


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4),
    ).eval()  # fmt: skip


def images(count: int = 24) -> Tensor:
    return torch.randn(count, 1, 10, 10, generator=torch.Generator().manual_seed(1))


def network(sizes: int, num_steps: int = 4, **settings: bool) -> ecl.SpikingNetwork:
    prepared = ecl.prepare(model(), per_channel=True)
    options = {"num_steps": num_steps, "spike_sizes": sizes, "progress": False}
    ann = ecl.calibrate(prepared, [images()], **options)  # type: ignore[arg-type]
    return ecl.convert(ann, spike_sizes=sizes, **settings)  # type: ignore[arg-type]


def error(snn: ecl.SpikingNetwork, num_steps: int) -> float:
    with torch.no_grad():
        wanted = model()(images())
        return float((snn(images(), num_steps=num_steps) - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("num_steps", [1, 2])
def test_more_sizes_come_closer_to_the_ann(num_steps: int) -> None:
    one, two, four = (error(network(sizes, num_steps), num_steps) for sizes in (1, 2, 4))
    assert four < two < one


def test_steps_whole_runs_and_unit_spikes_agree() -> None:
    snn, unit = network(3), network(3, unit_spikes=True)
    with torch.no_grad():
        whole = snn(images(), num_steps=4)
        snn.reset()
        steps = torch.stack([snn.step(images()) for _ in range(4)])
        torch.testing.assert_close(steps.mean(0), whole)
        torch.testing.assert_close(unit(images(), num_steps=4), whole, atol=1e-5, rtol=1e-5)


def test_an_exported_program_computes_the_same() -> None:
    torch.manual_seed(0)
    ann = nn.Sequential(nn.Linear(8, 16), ecl.ThresholdClip(4, 1.0), nn.Linear(16, 2))
    snn, x = ecl.convert(ann, spike_sizes=3), torch.randn(5, 8)
    with torch.no_grad():
        program = torch.export.export(snn, (x,), {"num_steps": 2})
        torch.testing.assert_close(program.module()(x, num_steps=2), snn(x, num_steps=2))


def test_the_file_holds_the_sizes_and_those_of_one_size_are_as_before(tmp_path: Path) -> None:
    for sizes in (1, 3):
        snn = network(sizes)
        path = snn.save(tmp_path / f"{sizes}.safetensors")
        loaded = ecl.load(path, model())
        assert [n.spike_sizes for n in loaded.neurons.values()] == [sizes] * 3
        with torch.no_grad():
            assert torch.equal(loaded(images(), num_steps=3), snn(images(), num_steps=3))
        with safe_open(path, framework="pt") as file:
            stored = json.loads(file.metadata()["settings"])["neurons"]["1"]
        assert ("spike_sizes" in stored) == (sizes > 1)


def test_a_file_with_a_wrong_number_of_sizes_is_refused(tmp_path: Path) -> None:
    snn = network(2)
    next(iter(snn.neurons.values())).spike_sizes = 9
    path = snn.save(tmp_path / "snn.safetensors")
    with pytest.raises(CheckpointError, match=r"damaged.*spike_sizes must be an integer from 1"):
        ecl.load(path, model())


def test_max_pooling_is_exact() -> None:
    currents = torch.randint(-60, 90, (6, 2, 3, 8), generator=torch.Generator().manual_seed(0)) / 64
    spikes, _ = F.scan(currents, 1.0, spike_sizes=4)
    pooled = ecl.SignedMaxPool(nn.MaxPool1d(4))(spikes.flatten(0, 1), num_steps=6)
    sums = pooled.view(6, 2, 3, 2).cumsum(0)
    expected = nn.functional.max_pool1d(spikes.cumsum(0).flatten(0, 1), 4)
    assert torch.equal(sums, expected.view_as(sums))


def test_the_absolute_membrane_is_the_scalar_neurons() -> None:
    neuron = ecl.DualThreshold(1.5, spike_sizes=3, init_hidden=True)
    scalar = oracles.SizedNeuron(1.5, 3)
    for current in (0.5, 0.25, -1.0, 1.75):
        assert neuron(torch.tensor([current])).item() == scalar.step(current)
        assert neuron.membrane.item() == float(scalar.v)
        assert neuron.spike_count.item() == 4 * scalar.n


# ----------------------------------------------------------------------------- measurements


def test_energy_counts_a_spike_of_any_size_once() -> None:
    ann = nn.Sequential(nn.Linear(3, 3), ecl.ThresholdClip(4, 1.0), nn.Linear(3, 5))
    ann[0].weight.data, ann[0].bias.data = torch.eye(3), torch.zeros(3)  # type: ignore[union-attr]
    snn = ecl.convert(ann, spike_sizes=3)
    currents = [0.3, 0.6, 0.9]
    spikes = [s for z in currents for s in oracles.SizedNeuron(1, 3).run([z] * 4)]
    assert len({abs(s) for s in spikes}) > 2
    cost = ecl.energy(snn, [torch.tensor([currents])], num_steps=4, progress=False)
    assert cost.total("acs") == 5 * sum(s != 0 for s in spikes)
    assert cost.total("macs") == 9
    assert cost.levels_per_step == cost.to_dict()["levels_per_step"] == 7
    text = " ".join(str(cost).split())
    assert "7 levels a step: each counts as one addition of a shifted weight" in text


def test_energy_multiplies_what_is_no_shift() -> None:
    """The average of θ and θ/2 is no half or quarter of θ."""
    layers = (nn.Conv1d(1, 1, 1), ecl.ThresholdClip(4, 1.0), nn.AvgPool1d(2), nn.Flatten())
    ann = nn.Sequential(*layers, nn.Linear(8, 3))
    ann[0].weight.data, ann[0].bias.data = torch.ones(1, 1, 1), torch.zeros(1)  # type: ignore[union-attr]
    snn = ecl.convert(ann, spike_sizes=4)
    data = torch.ones(2, 1, 16)
    data[1, :, ::2] = 0.5
    cost = ecl.energy(snn, [data], num_steps=1, progress=False)
    behind = next(layer for layer in cost.layers if layer.name == "4")
    assert (behind.macs, behind.acs) == (8 * 3, 0)


@pytest.mark.parametrize(("steps", "sizes"), [(1, 4), (2, 2), (3, 3)])
def test_verify_knows_which_levels_can_be_reached(steps: int, sizes: int) -> None:
    """One layer on constant input: the share that is exact, from scalar neurons."""
    ann = nn.Sequential(nn.Linear(1, 1), ecl.ThresholdClip(4, 1.0), nn.Linear(1, 2))
    ann[0].weight.data, ann[0].bias.data = torch.ones(1, 1), torch.zeros(1)  # type: ignore[union-attr]
    inputs = [(2 * part + 1) / 194 for part in range(97)]
    reached = {0.0}
    for _ in range(steps):
        moves = [sign * 0.5**power for power in range(sizes) for sign in (1, -1)]
        reached |= {level + move for level in reached for move in moves if level + move >= 0}
    right = 0
    for z in inputs:
        nearest = min(reached, key=lambda level: abs(level / steps - z))
        right += sum(oracles.SizedNeuron(1, sizes).run([z] * steps)) == nearest
    plain = nn.Sequential(ann[0], nn.ReLU(), ann[2])
    snn = ecl.convert(ann, spike_sizes=sizes)
    data = [torch.tensor(inputs).view(-1, 1)]
    found = ecl.verify(snn, plain, data, num_steps=steps, progress=False)
    assert found.layers[0].exact == pytest.approx(right / len(inputs))
    assert f"{2 * sizes + 1} levels a step" in str(found)


def test_evaluate_early_exit_and_predict_say_and_take_several_sizes() -> None:
    snn = network(4)
    labels = model()(images()).argmax(1)
    found = ecl.evaluate(snn, [(images(), labels)], num_steps=4, ann=model(), progress=False)
    assert found.levels_per_step == 9
    assert str(found).count("9 levels a step") == 2
    curve = exit_curve(snn, [(images(), labels)], max_steps=4, progress=False)
    assert "9 levels a step" in str(curve)
    assert curve.fixed == found.accuracy
    answer = snn.predict(images(), max_steps=4, confidence=1.0)
    assert torch.equal(answer.classes, snn(images(), num_steps=4).argmax(1))
    assert "spikes of 4 sizes (θ, θ/2, …): 9 levels a step" in repr(snn)


def test_one_call_and_compensation_take_several_sizes() -> None:
    options = {"num_steps": 2, "spike_sizes": 2, "progress": False}
    data = list(images(96).split(24))
    snn = ecl.convert_pretrained(model(), data, **options)  # type: ignore[arg-type]
    assert {neuron.spike_sizes for neuron in snn.neurons.values()} == {2}
    assert snn.compensation.kept
    assert snn.compensation.after < snn.compensation.before


def test_neurobench_refuses_sizes_that_it_would_multiply() -> None:
    with pytest.raises(ConfigError, match=r"1 has spikes of 2 sizes.*spike_sizes=1"):
        NeuroBenchNet(network(2, unit_spikes=True))


def test_fine_tuning_has_gradients_through_every_size() -> None:
    snn = network(3)
    snn(images(), num_steps=2).square().mean().backward()
    for name in ("0", "3", "6", "8"):
        gradient = snn.net.get_submodule(name).weight.grad
        assert isinstance(gradient, Tensor)
        assert bool(gradient.isfinite().all())
        assert float(gradient.abs().sum()) > 0
