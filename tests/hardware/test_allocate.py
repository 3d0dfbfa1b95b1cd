"""``allocate_levels``: what it measures, what it chooses, what it refuses."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError, DataError, NotPreparedError, ThresholdUnsetError

from ..helpers.nets import BY_NAME
from ..helpers.parts import clips_of, recorded, set_thresholds

pytestmark = pytest.mark.usefixtures("seeded_without_gradients")

T = 3


def network() -> tuple[nn.Module, Tensor]:
    ann = BY_NAME["residual"].prepared(T)
    return ann, BY_NAME["residual"].inputs(24)[0]


def measured(
    ann: nn.Module, x: Tensor, levels: dict[str, int], num_steps: int = T
) -> tuple[float, float]:
    """Squared error of the outputs, and spikes an image, from the network's own spikes."""
    chip = ecl.levelled(ecl.convert(ann), num_steps=num_steps, levels=levels)
    out, spikes = recorded(chip, lambda: chip(x))
    counts = sum(int(spikes[f"net.{name}"].count_nonzero()) for name in chip.neurons)
    return float((out - ann(x)).square().sum()), counts / len(x)


def chosen_by(x: Tensor) -> Tensor:
    return x[[i for i in range(len(x)) if i % 4 != 1]]


def test_the_first_layer_lowered_costs_least_for_each_spike_and_figures_are_true() -> None:
    ann, x = network()
    found = ecl.allocate_levels(ann, [x], budget=0.5, progress=False)
    start = dict.fromkeys(clips_of(ann), T)
    fit, held = chosen_by(x), x[1::4]
    error, spikes = measured(ann, fit, start)
    costs = {}
    for name in start:
        worse, fewer = measured(ann, fit, {**start, name: T - 1})
        costs[name] = (worse - error) / (spikes - fewer)
    assert found.moves[0].name == min(costs, key=lambda name: costs[name])
    levels, wanted = dict(start), float(ann(fit).square().sum())
    for move in found.moves:
        assert move.levels == levels[move.name] - 1
        levels[move.name] = move.levels
        squared, left = measured(ann, fit, levels)
        assert move.error == pytest.approx((squared / wanted) ** 0.5, rel=1e-4)
        assert move.spikes == pytest.approx(left / spikes)
    assert found.levels == levels
    assert [move.spikes > 0.5 for move in found.moves] == [True] * (len(found.moves) - 1) + [False]
    for each, squares, many in (
        (start, found.error_before, found.spikes_before),
        (levels, found.error_after, found.spikes_after),
    ):
        squared, left = measured(ann, held, each)
        assert squares == pytest.approx(
            (squared / float(ann(held).square().sum())) ** 0.5, rel=1e-4
        )
        assert many == pytest.approx(left)
    assert (found.fitted, found.held_out) == (18, 6)


def test_a_layer_that_no_output_hears_pays_first() -> None:
    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 20), nn.Linear(6, 20), nn.Linear(20, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(torch.relu(self.a(x))) + 0.0 * self.c(torch.relu(self.b(x)))

    torch.manual_seed(0)
    ann, x = ecl.prepare(Deaf(), levels=5), torch.randn(32, 6)
    set_thresholds(ann, x)
    found = ecl.allocate_levels(ann, [x], budget=0.7, progress=False)
    heard, deaf = clips_of(ann)
    assert found.levels[heard] == 5
    assert found.levels[deaf] < 5
    assert found.error_after == pytest.approx(found.error_before)


def test_what_counts_is_the_error_for_each_spike_and_not_the_error() -> None:
    """Many neurons of weight 1 beside one of weight 2: its error is 4 times theirs, each."""

    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.many, self.one = ecl.ThresholdClip(4, 1.0), ecl.ThresholdClip(4, 1.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.many(x[:, :60]).sum(1) + 2 * self.one(x[:, 60:]).sum(1)

    x = torch.rand(64, 61)
    found = ecl.allocate_levels(Beside(), [x], budget=0.99, progress=False)
    assert [move.name for move in found.moves] == ["many"]


def test_batches_and_runs_make_no_difference_and_the_network_is_as_it_was() -> None:
    ann, x = network()
    before, state = copy.deepcopy(ann), {k: v.clone() for k, v in ann.state_dict().items()}
    found = ecl.allocate_levels(ann, [x], budget=0.75, num_steps=T, progress=False)
    again = ecl.allocate_levels(ann, [{"x": x[:5]}, {"x": x[5:]}], budget=0.75, key="x",
                                num_steps=T, progress=False)  # fmt: skip
    assert again.levels == found.levels
    assert all(torch.equal(value, state[key]) for key, value in ann.state_dict().items())
    assert repr(ann) == repr(before)
    prepared = ecl.prepare(ann, levels=found.levels)
    assert {name: clip.levels for name, clip in clips_of(prepared).items()} == found.levels
    # Fewer levels begin from those that the clips have.
    second = ecl.allocate_levels(prepared, [x], budget=0.9, num_steps=T, progress=False)
    assert all(second.levels[name] <= L for name, L in found.levels.items())


def test_the_result_is_a_table_plain_data_and_a_figure() -> None:
    ann, x = network()
    found = ecl.allocate_levels(ann, [x], budget=0.75, num_steps=T, progress=False)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["levels"] == found.levels
    assert len(plain["moves"]) == len(found.moves)
    text = str(found)
    assert "Levels at T = 3 for 75 % of the spikes" in text
    assert all(name in text for name in found.levels)
    ((line, _),) = [ax.lines for ax in found.plot().axes]
    assert list(line.get_xdata()) == [100 * move.spikes for move in found.moves]
    with pytest.raises(AttributeError):
        found.budget = 0.1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"budget": 1.0}, ConfigError, r"within \(0, 1\); got 1.0"),
        ({"budget": True}, ConfigError, "got True"),
        ({"budget": float("nan")}, ConfigError, "got nan"),
        ({"budget": 1e-6}, ConfigError, r"budget=1e-06 cannot be kept: .* a share of 0\.\d\d"),
        ({"num_steps": 0}, ConfigError, "num_steps"),
        ({"num_steps": 1}, ConfigError, "at T = 1 all layers have one level"),
        ({"data": []}, DataError, "at least 2 images"),
        ({"data": [torch.zeros(8, 2, 6, 6) - 1e3]}, DataError, "no neuron spikes"),
        ({"ann": nn.Linear(2, 2)}, NotPreparedError, "call prepare"),
        ({"ann": "ann"}, ConfigError, "must be an nn.Module"),
    ],
)
def test_bad_input_says_what_is_wrong(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    ann = nn.Sequential(ecl.ThresholdClip(3, 1.0), nn.Flatten(), nn.Linear(72, 3))
    given = {"ann": ann, "data": [torch.rand(8, 2, 6, 6)], "budget": 0.5, **settings}
    with pytest.raises(error, match=message):
        ecl.allocate_levels(given.pop("ann"), given.pop("data"), progress=False, **given)


def test_thresholds_and_steps_must_be_known() -> None:
    x = torch.rand(8, 4)
    unset = nn.Sequential(ecl.ThresholdClip(3), nn.Linear(4, 3))
    with pytest.raises(ThresholdUnsetError):
        ecl.allocate_levels(unset, [x], budget=0.5, progress=False)
    clipped = nn.Sequential(ecl.ThresholdClip(None, 1.0), nn.Linear(4, 3))
    with pytest.raises(ConfigError, match="give num_steps"):
        ecl.allocate_levels(clipped, [x], budget=0.5, progress=False)
    found = ecl.allocate_levels(clipped, [x], budget=0.7, num_steps=4, progress=False)
    assert found.layers[0].start == 4
