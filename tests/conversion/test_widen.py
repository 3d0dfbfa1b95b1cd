"""Larger thresholds for uneven spikes: only where images say so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import SpikingNetwork
from snntorch_ecl.conversion import _widen
from snntorch_ecl.conversion._widen import widened


def relu_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(),
        nn.Linear(24, 4),
    )  # fmt: skip


def images(rows: int = 64) -> Tensor:
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(5))


def calibrated(ann: nn.Module, num_steps: int, **settings: Any) -> SpikingNetwork:
    prepared = ecl.prepare(ann, per_channel=True, levels=num_steps)
    return ecl.convert(
        ecl.calibrate(prepared, [images()], num_steps=num_steps, progress=False), **settings
    )


def run(snn: SpikingNetwork, ann: nn.Module, num_steps: int, data: Any = None) -> SpikingNetwork:
    return widened(snn, ann, data or [images()], num_steps, progress=False)


def error(snn: SpikingNetwork, ann: nn.Module, num_steps: int) -> float:
    """On the images that it was chosen by."""
    x = images()[:32]
    with torch.no_grad():
        return float((snn(x, num_steps=num_steps) - ann(x)).norm())


@pytest.mark.parametrize("num_steps", [1, 2, 4, 8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_never_farther_from_the_ann(seed: int, num_steps: int) -> None:
    ann = relu_network(seed)
    before = calibrated(ann, num_steps)
    after = run(before, ann, num_steps)
    assert after is before or error(after, ann, num_steps) < error(before, ann, num_steps)


def test_thresholds_grow_alike_and_spikes_stay_worth_them() -> None:
    ann = relu_network()
    before = calibrated(ann, 4)
    given = {name: neuron.threshold.clone() for name, neuron in before.neurons.items()}
    after = run(before, ann, 4)
    assert after is not before
    for name, neuron in after.neurons.items():
        ratio = neuron.threshold / given[name]
        assert float(ratio.min()) > 1.1
        torch.testing.assert_close(ratio, torch.full_like(ratio, float(ratio[0])))
        assert torch.equal(neuron.graded_spikes_factor, neuron.threshold)
        assert torch.equal(before.neurons[name].threshold, given[name])


def test_without_a_gain_the_network_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_widen, "_FACTORS", (50.0, 1.15))
    ann = relu_network()
    snn = calibrated(ann, 4)
    assert run(snn, ann, 4) is snn


def test_what_the_other_images_do_not_confirm_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    ann, seen = relu_network(), []
    snn = calibrated(ann, 4)

    def errors(tried: SpikingNetwork, *_: Any) -> list[Any]:
        found = [_widen.Error(), _widen.Error()]
        # Always closer for the images that choose, and farther for the others.
        found[0].squared, found[1].squared = 10.0 - len(seen), 10.0 + len(seen)
        seen.append(tried)
        return found

    monkeypatch.setattr(_widen, "_errors", errors)
    assert run(snn, ann, 4) is snn
    assert len(seen) == 1 + len(_widen._FACTORS)


def test_one_image_cannot_confirm_itself() -> None:
    ann = relu_network()
    snn = calibrated(ann, 4)
    assert run(snn, ann, 4, [images()[:1]]) is snn


def test_only_the_first_images_are_read() -> None:
    read: list[int] = []

    def data() -> Any:
        for batch in torch.split(images(), 20):
            read.append(len(batch))
            yield batch

    ann = relu_network()
    after = run(calibrated(ann, 4), ann, 4, data())
    assert read == [20, 20]
    expected = run(calibrated(ann, 4), ann, 4)
    assert torch.equal(after(images(), num_steps=4), expected(images(), num_steps=4))


def test_batches_of_other_sizes_are_left_out() -> None:
    ann = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 3),
    ).eval()  # fmt: skip
    data = [torch.randn(8, 1, side, side) for side in (8, 10)]
    snn = ecl.convert_pretrained(ann, data, num_steps=4, budget="fast", progress=False)
    assert snn(data[1], num_steps=4).shape == (8, 3)


def test_the_network_stays_fresh_and_in_its_mode() -> None:
    """Norms that are not folded keep their statistics, and no state of the trial runs is left."""
    ann = relu_network()
    ann.insert(1, nn.BatchNorm1d(24))
    prepared = ecl.calibrate(
        ecl.prepare(ann.eval(), per_channel=True, levels=4), [images()], num_steps=4,
        progress=False,
    )  # fmt: skip
    snn = ecl.convert(prepared, fold_batchnorms=False).train()
    given = {name: value.clone() for name, value in snn.state_dict().items()}
    after = run(snn, ann, 4)
    assert all(torch.equal(given[name], value) for name, value in snn.state_dict().items())
    for net in (snn, after):
        assert net.training
        assert all(neuron.is_fresh for neuron in net.neurons.values())


def test_spikes_of_a_worth_of_their_own_are_left_alone() -> None:
    ann = relu_network()
    snn = calibrated(ann, 4, unit_spikes=True)
    assert run(snn, ann, 4) is snn


def test_outputs_may_be_several() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = relu_network()

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = self.body(x)
            return {"one": y, "two": 2 * y}

    snn = ecl.convert_pretrained(Two(), [images()], num_steps=4, budget="fast", progress=False)
    assert snn(images(), num_steps=4).keys() == {"one", "two"}
