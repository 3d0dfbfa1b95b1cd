"""The neurons of the ablation: which equation each follows, and that the checkpoint is one."""

import math

import pytest
import torch
from torch import nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError
from snntorch_ecl.experiments import NEURONS, ablate
from snntorch_ecl.experiments._ablation import accuracy_rows, variants


def trained(*, per_channel: bool = False) -> nn.Module:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3))
    ann = ecl.prepare(model, per_channel=per_channel).train()
    ann(torch.randn(40, 6))
    return ann.eval()


def settings(snn: ecl.SpikingNetwork) -> set[tuple[float, float]]:
    """(θ′/θ, v(0)/θ) of its neurons; θ′ as it is where it does not depend on θ."""
    found = set()
    for neuron in snn.neurons.values():
        ratio = neuron.negative_threshold / float(neuron.threshold.min())
        fixed = neuron.negative_threshold in (-1e-3, -math.inf)
        found.add(
            (neuron.negative_threshold if fixed else round(ratio, 6), neuron.initial_membrane)
        )
    return found


@pytest.mark.parametrize("per_channel", [False, True])
def test_each_neuron_has_the_settings_of_its_name(per_channel: bool) -> None:
    networks = variants(ecl.convert(trained(per_channel=per_channel)))
    assert tuple(networks) == NEURONS
    assert [settings(networks[name]) for name in NEURONS] == [
        {(-1e-3, 0.5)},
        {(-math.inf, 0.5)},
        {(-1e-3, 0.0)},
        {(-math.inf, 0.0)},
        {(-0.5, 0.5)},
        {(-1.0, 0.5)},
    ]


def test_all_have_the_weights_of_one_network_and_it_stays_as_it_is() -> None:
    snn = ecl.convert(trained(), negative_threshold=-0.25, initial_membrane=0.75)
    expected = snn.state_dict()
    for other in variants(snn).values():
        found = other.state_dict()
        assert all(torch.equal(value, found[name]) for name, value in expected.items())
    for neuron in snn.neurons.values():
        assert (neuron.negative_threshold, neuron.initial_membrane) == (-0.25, 0.75)


def test_the_neurons_of_a_tuned_network_are_exchanged_beside_its_ann() -> None:
    ann = trained()
    images, labels = torch.randn(40, 6), torch.arange(40) % 3
    tuned = ecl.convert(ann)
    with torch.no_grad():
        tuned.net.get_submodule("4").bias[1] = 1e3  # always chosen
        expected = float((ann(images).argmax(1) == labels).double().mean())
    found = ablate(ann, [(images, labels)], snn=tuned, steps=(2,), progress=False).evaluations
    assert {e.accuracy[1] for e in found.values()} == {13 / 40}
    assert {e.ann_accuracy for e in found.values()} == {expected}
    assert expected != 13 / 40


def test_what_does_not_spike_is_refused() -> None:
    with pytest.raises(ConfigError, match="snn must be a SpikingNetwork"):
        variants(trained())  # type: ignore[arg-type]


def test_rows_show_the_steps_that_were_asked_for() -> None:
    data = [(torch.randn(20, 6), torch.randint(0, 3, (20,)))]
    result = ablate(trained(), data, steps=(3, 1, 3), progress=False)
    assert result.steps == (1, 3)
    columns, rows = accuracy_rows(result.evaluations, result.steps)
    assert columns == ("neuron", "ANN", "T = 1", "T = 3")
    assert [row[0] for row in rows] == list(NEURONS)
    for row, evaluation in zip(rows, result.evaluations.values(), strict=True):
        shown = [evaluation.ann_accuracy, evaluation.accuracy[0], evaluation.accuracy[2]]
        assert list(row[1:]) == [f"{100 * value:.2f}" for value in shown if value is not None]
    assert len(result.plot().axes[0].get_lines()) >= len(NEURONS)


@pytest.mark.parametrize("steps", [(), (0, 2)])
def test_bad_steps_are_refused(steps: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="steps must be integers >= 1"):
        ablate(trained(), [], steps=steps)
