"""evaluate and energy on input that changes over time, against loops over single steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import ThresholdClip
from snntorch_ecl.errors import ConfigError, DataError

T, B = 6, 4


def network() -> ecl.SpikingNetwork:
    torch.manual_seed(0)
    return ecl.convert(
        nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 0.4), nn.Linear(16, 3)).eval()
    )


def events(seed: int = 1, batch: int = B) -> Tensor:
    """Binary events ``[T, B, 8]``."""
    return (torch.rand(T, batch, 8, generator=torch.Generator().manual_seed(seed)) < 0.3).float()


def labels(batch: int = B) -> Tensor:
    return torch.arange(batch) % 3


def by_steps(snn: ecl.SpikingNetwork, sequence: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs and the neuron's spikes at each step, ``[T, B, ...]``."""
    spikes: list[Tensor] = []
    hook = snn.net.get_submodule("1").register_forward_hook(
        lambda module, args, out: spikes.append(out.detach())
    )
    snn.reset()
    outputs = torch.stack([snn.step(x).detach() for x in sequence])
    hook.remove()
    snn.reset()
    return outputs, torch.stack(spikes)


def test_accuracy_and_spikes_are_those_of_single_steps() -> None:
    snn = network()
    batches = [(events(1), labels()), (events(2, 3), labels(3))]
    result = ecl.evaluate(snn, batches, num_steps=T, sequences=True, progress=False)
    right, spikes, places = torch.zeros(T), 0, 0
    for sequence, wanted in batches:
        outputs, emitted = by_steps(snn, sequence)
        right += (outputs.cumsum(0).argmax(2) == wanted).sum(1)
        spikes += int((emitted != 0).sum())
        places += emitted.numel()
    assert result.samples == B + 3
    assert result.accuracy == pytest.approx((right / (B + 3)).tolist())
    assert result.layers[0].spike_rate == pytest.approx(spikes / places)


def test_only_events_cost_and_every_layer_runs_at_every_step() -> None:
    snn, sequence = network(), events()
    cost = ecl.energy(snn, [sequence], num_steps=T, sequences=True, progress=False)
    _, emitted = by_steps(snn, sequence)
    first, neuron, last = cost.layers
    assert cost.samples == B
    # Each event reaches 16 neurons, each spike 3 outputs: additions, as all events are 1.
    assert first.acs == pytest.approx(float((sequence != 0).sum()) * 16 / B)
    assert last.acs == pytest.approx(float((emitted != 0).sum()) * 3 / B)
    assert first.macs == last.macs == 0
    assert neuron.updates == 16 * T
    assert (first.ann_macs, last.ann_macs) == (8 * 16, 16 * 3)


def test_graded_input_multiplies_where_it_is_not_zero() -> None:
    snn = network()
    sequence = events() * torch.rand(T, B, 8)
    cost = ecl.energy(snn, [sequence], num_steps=T, sequences=True, progress=False)
    assert cost.layers[0].macs == pytest.approx(float((sequence != 0).sum()) * 16 / B)


@pytest.mark.parametrize("verb", [ecl.evaluate, ecl.energy])
def test_sequences_of_another_length_are_refused(verb: object) -> None:
    with pytest.raises(DataError, match=r"T = num_steps = 5; got a batch of shape \[6, 4, 8\]"):
        verb(network(), [(events(), labels())], num_steps=5, sequences=True)  # type: ignore[operator]


def test_sequences_are_recognised_by_their_labels() -> None:
    with pytest.raises(DataError, match=r"sequences \[T, B, \.\.\.\].*sequences=True"):
        ecl.evaluate(network(), [(events(), labels())], num_steps=T)


def test_an_ann_has_no_steps() -> None:
    ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 0.4), nn.Linear(16, 3))
    with pytest.raises(ConfigError, match="ann="):
        ecl.evaluate(network(), [(events(), labels())], num_steps=T, sequences=True, ann=ann)
