"""What evaluate accepts, what it refuses, and how its result is shown."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError, DataError, InputError
from snntorch_ecl.measurement._evaluate import Evaluation, LayerActivity
from tests.helpers.evaluations import data, made, run
from tests.helpers.nets import BY_NAME

# ---------------------------------------------------------------------------------------- data


@pytest.mark.parametrize("batches", [[], iter(()), torch.utils.data.DataLoader([])])
def test_empty_data_is_an_error(batches: Any) -> None:
    with pytest.raises(DataError, match="empty"):
        run(made("sequential")[2], batches)


X, Y = torch.rand(3, 4), torch.tensor([0, 1, 2])


@pytest.mark.parametrize(
    ("batch", "what"),
    [
        (X, "got a Tensor"),
        ((X,), "got a tuple"),
        ((X, Y, Y), "got a tuple"),
        ({"x": X, "y": Y}, "got a dict"),
        ((X, [0, 1, 2]), "got a tuple"),
        ((X.tolist(), Y), "got a tuple"),
        ((X, Y[:2]), r"must be class numbers of shape \[3\]; got torch.int64 of shape \[2\]"),
        ((X, Y.unsqueeze(1)), r"of shape \[3, 1\]"),
        ((X, Y.float()), r"got torch.float32"),
        ((X, torch.eye(3)), r"got torch.float32 of shape \[3, 3\]"),
    ],
)  # fmt: skip
def test_batches_of_another_form_are_named(batch: Any, what: str) -> None:
    with pytest.raises(DataError, match=rf"(?s)batch 1.*{what}"):
        run(made("sequential")[2], [(X, Y), batch])


@pytest.mark.parametrize("labels", [[0, 1, 3], [0, -1, 2]])
def test_labels_outside_the_classes_are_named(labels: list[int]) -> None:
    low, high = min(labels), max(labels)
    with pytest.raises(DataError, match=f"from {low} to {high}.* classes 0 to 2"):
        run(made("sequential")[2], [(X, torch.tensor(labels))])


@pytest.mark.parametrize("name", ["dict output", "two outputs"])
def test_only_one_output_of_logits_can_be_classified(name: str) -> None:
    snn = ecl.convert(BY_NAME[name].prepared())
    with pytest.raises(DataError, match=r"one output, logits \[B, classes\]"):
        run(snn, [(X, Y)])


def test_broken_images_are_an_error() -> None:
    with pytest.raises(InputError, match="NaN"):
        run(made("sequential")[2], [(X * math.nan, Y)])


def test_data_may_be_a_loader_a_list_or_a_generator() -> None:
    net, _, snn = made("sequential")
    ((images, labels),) = data(net)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, labels), batch_size=4
    )
    whole = run(snn, [(images, labels)])
    assert run(snn, loader).accuracy == whole.accuracy
    assert run(snn, (pair for pair in [[images, labels]])).accuracy == whole.accuracy


def test_progress_goes_to_standard_error_and_only_if_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(made("sequential")[2], [(X, Y)])
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


# --------------------------------------------------------------------------------------- showing


def test_to_dict_goes_to_json() -> None:
    net, ann, snn = made("sequential")
    for result in (run(snn, data(net), ann), run(snn, data(net))):
        loaded = json.loads(json.dumps(result.to_dict()))
        assert loaded["samples"] == 6
        assert loaded["accuracy"] == list(result.accuracy)
        assert loaded["layers"][0]["name"] == "1"


def example(ann: bool = True) -> Evaluation:
    return Evaluation(
        samples=1234,
        num_steps=2,
        accuracy=(0.5, 0.75),
        ann_accuracy=0.8 if ann else None,
        agreement=(0.25, 1.0) if ann else None,
        layers=(LayerActivity("block.relu", 0.125 if ann else None, 0.3, 0.0625),),
    )


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]]
            for line in text.splitlines() if line.startswith("│")]  # fmt: skip


def test_tables_say_it_in_per_cent() -> None:
    text = str(example())
    assert "Accuracy on 1,234 images" in text
    assert "Spiking layers over T = 2" in text
    assert rows(text) == [
        ["T = 1", "50.00", "-30.00", "25.00"],
        ["T = 2", "75.00", "-5.00", "100.00"],
        ["ANN", "80.00", "–", "–"],
        ["block.relu", "12.50", "30.00", "6.25"],
    ]


def test_tables_leave_open_what_is_unknown() -> None:
    assert rows(str(example(ann=False))) == [
        ["T = 1", "50.00", "–", "–"],
        ["T = 2", "75.00", "–", "–"],
        ["block.relu", "–", "30.00", "6.25"],
    ]


# --------------------------------------------------------------------- an ANN of something else


def test_an_unrelated_ann_is_refused() -> None:
    ann = nn.Sequential(nn.Linear(4, 6), ecl.ThresholdClip(4, 1.0), nn.Linear(6, 3)).eval()
    data = [(torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1]))]
    settings: dict[str, Any] = {"num_steps": 2, "progress": False}
    for other, words in (
        (
            nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)),
            "Give the prepared network",
        ),
        (nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3)), r"1: the ANN's activation"),
        (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), r"the ANN returns \[5, 2\]"),
        (nn.Sequential(nn.ReLU(), nn.Linear(4, 3)), "no activation 1"),
    ):
        with pytest.raises(ConfigError, match=words):
            ecl.evaluate(ecl.convert(ann), data, ann=other, **settings)


def test_an_ann_that_needs_help_to_be_traced_is_given_prepared() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x) if x.sum() > -1e9 else x

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.relu, self.last = Branching(), nn.ReLU(), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.relu(self.first(x)))

    options: dict[str, Any] = {
        "leaf_modules": [Branching],
        "handlers": {Branching: ecl.keep},
    }
    model, data = Net().eval(), [(torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1]))]
    ann = ecl.calibrate(ecl.prepare(model, **options), data, progress=False)
    snn = ecl.convert(ann, **options)
    assert ecl.evaluate(snn, data, ann=ann, num_steps=2, progress=False).agreement is not None
    with pytest.raises(ConfigError, match="Give the prepared network"):
        ecl.evaluate(snn, data, ann=model, num_steps=2, progress=False)
