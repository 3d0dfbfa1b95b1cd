"""convert approaches the clipped ANN, exactly where that can be said."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import snntorch as snn
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

import snntorch_ecl as ecl
from snntorch_ecl.nn._temporal import unfold
from tests.helpers import oracles
from tests.helpers.nets import BY_NAME, Net, exact, over_catalogue, over_kinds_and_big, spiking
from tests.helpers.parts import clips_of, close, equal, norms_of, on_grid, outputs, recorded

pytestmark = pytest.mark.usefixtures("clean_registry", "seeded_without_gradients")


def relative_errors(net: Net, *steps: int) -> list[float]:
    ann = net.prepared()  # not a cached one: the big networks would stay
    snn_, inputs = ecl.convert(ann), net.inputs(1 if net.big else 2)
    expected = tree_leaves(outputs(ann, inputs))
    errors = []
    for num_steps in steps:
        pairs = zip(tree_leaves(snn_(*inputs, num_steps=num_steps)), expected, strict=True)
        errors.append(max(float((a - b).norm() / b.norm()) for a, b in pairs))
    return errors


@over_catalogue
def test_the_spiking_network_approaches_the_clipped_one_as_steps_grow(net: Net) -> None:
    long, tolerance = (64, 0.12) if net.big else (256, 0.02)
    few, many = relative_errors(net, 8, long)
    assert many < tolerance
    assert many < 0.4 * few


def grid_inputs(net: Net, seed: int = 1) -> tuple[Tensor, ...]:
    return tuple(on_grid(x, 16) for x in net.inputs(1 if net.big else 3, seed))


def assert_same_run(
    snn_: ecl.SpikingNetwork, one: Callable[[], Any], other: Callable[[], Any]
) -> dict[str, Tensor]:
    """Both calls emit the same spikes, bit for bit, and equal outputs; gives the spikes."""
    results, spikes = zip(recorded(snn_, one), recorded(snn_, other), strict=True)
    assert spikes[0].keys() == spikes[1].keys() != set()
    assert all(torch.equal(spikes[0][name], spikes[1][name]) for name in spikes[0])
    assert close(*results, tolerance=1e-6)
    return spikes[0]


def means_of_steps(snn_: ecl.SpikingNetwork, frames: list[tuple[Tensor, ...]]) -> Any:
    """Running averages of what step by step gives."""
    snn_.reset()
    outputs = [snn_.step(*frame) for frame in frames]
    counts = torch.arange(1, len(frames) + 1)
    return tree_map(
        lambda *steps: torch.stack(steps).cumsum(0) / counts.view(-1, *[1] * steps[0].ndim),
        *outputs,
    )


@over_kinds_and_big
def test_stepping_equals_a_whole_run_bit_for_bit(net: Net) -> None:
    snn_, inputs = exact(net.name), grid_inputs(net)
    spikes = assert_same_run(
        snn_,
        lambda: snn_.logits_over_time(*inputs, num_steps=4),
        lambda: means_of_steps(snn_, [inputs] * 4),
    )
    assert any(bool(train.any()) for train in spikes.values())


@over_kinds_and_big
def test_a_constant_sequence_equals_holding_the_input_bit_for_bit(net: Net) -> None:
    snn_, inputs = exact(net.name), grid_inputs(net)
    sequence = [x.expand(3, *x.shape) for x in inputs]
    assert_same_run(snn_, lambda: snn_.forward_steps(*sequence), lambda: snn_(*inputs, num_steps=3))


@over_kinds_and_big
def test_a_changing_sequence_equals_stepping_bit_for_bit(net: Net) -> None:
    snn_ = exact(net.name)
    frames = [grid_inputs(net, seed) for seed in range(3)]
    sequence = [torch.stack(xs) for xs in zip(*frames, strict=True)]
    assert_same_run(
        snn_,
        lambda: snn_.forward_steps(*sequence),
        lambda: tree_map(lambda x: x[-1], means_of_steps(snn_, frames)),
    )


@over_kinds_and_big
def test_images_do_not_mix(net: Net) -> None:
    """A batch equals its images one by one."""
    snn_, inputs = exact(net.name), net.inputs(2)
    both = tree_leaves(snn_(*inputs, num_steps=2))
    for index in range(2):
        alone = tree_leaves(snn_(*[x[index : index + 1] for x in inputs], num_steps=2))
        for a, b in zip(both, alone, strict=True):
            assert torch.allclose(a[index : index + 1], b, atol=1e-4)


@over_catalogue
def test_only_norms_that_cannot_fold_and_no_dropout_are_left(net: Net) -> None:
    snn_ = spiking(net.name)[1]
    assert len(norms_of(snn_)) == net.norms
    assert not [m for m in snn_.modules() if "Dropout" in type(m).__name__]
    assert not clips_of(snn_)
    assert len(snn_.neurons) == net.clips


@over_kinds_and_big
def test_layers_keep_their_clips_name_threshold_and_levels(net: Net) -> None:
    ann = net.prepared(levels=5)
    snn_ = ecl.convert(ann)
    clips = clips_of(ann)
    assert {layer.name for layer in snn_.layers} == set(clips)
    assert {layer.levels for layer in snn_.layers} == {5}
    for name, neuron in snn_.neurons.items():
        assert torch.equal(neuron.threshold, clips[name].threshold)
        assert torch.equal(neuron.graded_spikes_factor, clips[name].threshold)


def test_settings_reach_every_neuron() -> None:
    spike_grad = snn.surrogate.fast_sigmoid()
    snn_ = ecl.convert(
        BY_NAME["residual"].prepared(),
        negative_threshold=-0.25, initial_membrane=0.125, spike_grad=spike_grad,
    )  # fmt: skip
    for neuron in snn_.neurons.values():
        settings = (neuron.negative_threshold, neuron.initial_membrane, neuron.spike_grad)
        assert settings == (-0.25, 0.125, spike_grad)


def test_a_converted_network_is_in_eval_mode() -> None:
    ann = BY_NAME["bn before conv"].prepared().train()
    assert {m.training for m in ecl.convert(ann).modules()} == {False}


# ------------------------------------------------------------------------------ exact statements


def one_hidden_layer(levels: int) -> tuple[nn.Module, Tensor]:
    """Dyadic weights and inputs, so that nothing rounds and ties occur."""
    generator = torch.Generator().manual_seed(levels)
    ann = nn.Sequential(nn.Linear(4, 16), ecl.ThresholdClip(levels, 1.5), nn.Linear(16, 3))
    for parameter in (*ann[0].parameters(), *ann[2].parameters()):
        parameter.copy_(torch.randint(-8, 9, parameter.shape, generator=generator) / 8)
    return ann, torch.randint(-8, 9, (32, 4), generator=generator) / 8


def hidden_mean(snn_: ecl.SpikingNetwork, x: Tensor, num_steps: int) -> Tensor:
    seen: list[Tensor] = []
    (neuron,) = snn_.neurons.values()
    hook = neuron.register_forward_hook(lambda m, args, out: seen.append(out))
    snn_(x, num_steps=num_steps)
    hook.remove()
    return unfold(seen[0], num_steps).mean(0)


@pytest.mark.parametrize("levels", [1, 2, 4, 8])
def test_at_as_many_steps_as_levels_the_hidden_layer_is_exact(levels: int) -> None:
    ann, x = one_hidden_layer(levels)
    mean = hidden_mean(ecl.convert(ann), x, levels)
    assert torch.equal(mean, ann[:2](x))
    z = (x @ ann[0].weight.T + ann[0].bias).flatten().tolist()
    truth = torch.tensor([float(oracles.clip(value, 1.5, levels)) for value in z])
    assert torch.equal(mean.flatten(), truth)
    assert truth.unique().numel() == levels + 1


@pytest.mark.parametrize("num_steps", [1, 4])
def test_without_negative_threshold_neurons_integrate_and_fire(num_steps: int) -> None:
    ann, x = one_hidden_layer(4)
    frames = torch.stack([x * (-1) ** t * (1 + t % 3) for t in range(num_steps)])
    plain = ecl.convert(ann, negative_threshold=-math.inf)
    (neuron,) = plain.neurons.values()
    seen: list[Tensor] = []
    neuron.register_forward_hook(lambda m, args, out: seen.append(out))
    plain.forward_steps(frames)
    spikes = (unfold(seen[0], num_steps) / 1.5).flatten(1).T.tolist()
    currents = ann[0](frames).flatten(1).T.tolist()
    assert spikes == [oracles.integrate_and_fire(column, 1.5) for column in currents]
    dual = ecl.convert(ann).forward_steps(frames)
    assert torch.equal(dual, plain.forward_steps(frames)) is (num_steps == 1)


@pytest.mark.parametrize("name", ["sequential", "residual", "max-pool", "u-net"])
def test_at_one_step_both_neurons_are_the_same(name: str) -> None:
    net = BY_NAME[name]
    plain = ecl.convert(spiking(name)[0], negative_threshold=-math.inf)
    assert equal(spiking(name)[1](*net.inputs(), num_steps=1), plain(*net.inputs(), num_steps=1))
