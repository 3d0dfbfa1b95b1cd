"""A network's summary, and how it prints."""

from __future__ import annotations

import json
import math

import pytest
import snntorch
import torch
import torch.nn.functional as F
from torch import nn

import snntorch_ecl as ecl
from snntorch_ecl import DualThreshold, SpikingNetwork
from tests.helpers.nets import spiking
from tests.helpers.parts import wired

pytestmark = pytest.mark.usefixtures("seeded")


# ---------------------------------------------------------------------------------------- summary


def summarised() -> SpikingNetwork:
    ann = nn.Sequential(
        nn.Conv2d(2, 4, 3), ecl.ThresholdClip(4, 1.5), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16, 5), ecl.ThresholdClip(None, torch.tensor([0.5, 1.0, 2.0, 1.0, 1.0])),
        nn.Linear(5, 3, bias=False),
    )  # fmt: skip
    return ecl.convert(ann)


ROWS = [
    ("0", "Conv2d", (4, 4, 4), None, None, 4 * 2 * 9 + 4),
    ("1", "DualThreshold", (4, 4, 4), (1.5, 1.5), 4, 1),
    ("2", "SignedMaxPool", (4, 2, 2), None, None, 0),
    ("3", "Flatten", (16,), None, None, 0),
    ("4", "Linear", (5,), None, None, 16 * 5 + 5),
    ("5", "DualThreshold", (5,), (0.5, 2.0), None, 5),
    ("6", "Linear", (3,), None, None, 15),
]


def test_summary_counts_by_hand() -> None:
    summary = summarised().summary(torch.rand(2, 2, 6, 6))
    rows = [(r.name, r.kind, r.shape, r.threshold, r.levels, r.parameters) for r in summary.rows]
    assert rows == ROWS
    assert summary.parameters == 76 + 1 + 85 + 5 + 15


def test_summary_without_an_example_leaves_shapes_open() -> None:
    assert {row.shape for row in summarised().summary().rows} == {None}


def test_summary_prints_every_row_and_goes_to_json() -> None:
    summary = summarised().summary(torch.rand(1, 2, 6, 6))
    text = str(summary)
    for part in ("182 parameters", "4 × 4 × 4", "0.5 … 2", "1.5", "SignedMaxPool", "76", "–"):
        assert part in text
    loaded = json.loads(json.dumps(summary.to_dict()))
    assert loaded["parameters"] == 182
    assert [row["name"] for row in loaded["layers"]] == [row[0] for row in ROWS]


def test_summary_leaves_no_hook_and_no_state() -> None:
    snn = summarised()
    snn.summary(torch.rand(2, 2, 6, 6))
    assert not [m for m in snn.modules() if m._forward_hooks]
    snn.step(torch.rand(3, 2, 6, 6))


def test_summary_counts_layers_called_twice_once_and_no_holds() -> None:
    rows = spiking("shared conv")[1].summary().rows
    assert [row.name for row in rows].count("c") == 1
    assert "Hold" not in {row.kind for row in spiking("late input")[1].summary().rows}


def test_summary_counts_weights_that_stand_outside_layers() -> None:
    weight = nn.Parameter(torch.ones(2, 4))
    ann = wired(lambda m, x: F.linear(m.clip(x), m.weight), clip=ecl.ThresholdClip(4, 1.0),
                weight=weight)  # fmt: skip
    assert ecl.convert(ann).summary().parameters == 8 + 1


def test_printing_a_network_says_in_a_few_lines_what_it_is() -> None:
    assert str(summarised()).split("\n") == [
        "SpikingNetwork with 2 layers of dual-threshold neurons",
        "  made for T = L = 4, 182 parameters; spikes worth θ",
        "  1  θ = 1.5",
        "  5  θ = 0.5 … 2",
        "  (all layers and their shapes: snn.summary(images))",
    ]


def test_printing_tells_how_a_network_was_converted_and_runs() -> None:
    ann = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), ecl.ThresholdClip(2, 1.0), nn.Tanh(),
                        nn.Linear(3, 3), ecl.ThresholdClip(8, 1.0))  # fmt: skip
    leaky = {nn.Tanh: lambda module, site: snntorch.Leaky(beta=0.5, init_hidden=True)}
    settings = {"unit_spikes": True, "fold_batchnorms": False, "handlers": leaky}
    snn = ecl.convert(ann, negative_threshold=-math.inf, **settings).compile()
    first, second, *_ = str(snn).split("\n")
    assert first == "SpikingNetwork with 2 layers of IF neurons and 1 layer of Leaky"
    assert "T = L = 2 to 8" in second
    assert "spikes of −1, 0 and +1; batch norms not folded; compiled time loop" in second
    assert "3  Leaky" in str(snn)
    unbounded = ecl.convert(nn.Sequential(ecl.ThresholdClip(None, 1.0), nn.Linear(2, 2)))
    assert "made for many time steps" in str(unbounded.to("meta"))


def test_printing_a_deep_network_stays_short() -> None:
    text = str(ecl.convert(nn.Sequential(*(ecl.ThresholdClip(4, 0.5 + i) for i in range(40)))))
    assert len(text.split("\n")) < 16
    assert "7   θ = 7.5\n  … 29 more layers …\n  37  θ = 37.5" in text


def test_a_notebook_shows_the_summary_as_a_table() -> None:
    assert '<td style="text-align: left">2</td>' in summarised().summary()._repr_html_()


def test_neurons_are_named_in_running_order() -> None:
    snn = spiking("residual")[1]
    assert list(snn.neurons) == ["1", "2.relu", "2.relu_1", "3.relu", "3.relu_1"]
    assert all(isinstance(n, DualThreshold) for n in snn.neurons.values())
