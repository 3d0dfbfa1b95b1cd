"""Every result shows itself alike: as text, as HTML, as plain data and as a picture."""

from __future__ import annotations

import html
import json
import re
from dataclasses import FrozenInstanceError, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from snntorch_ecl._util.results import Result
from snntorch_ecl.experiments import (
    Ablation,
    Bench,
    ConversionConfig,
    ConversionResult,
    DemoConfig,
    DemoResult,
    Point,
    Sweep,
    Timing,
)
from snntorch_ecl.experiments._conversion_result import Outcome
from snntorch_ecl.experiments._curves import Curves
from snntorch_ecl.experiments._demo_digit import DigitRun
from snntorch_ecl.hardware import Allocation, LayerLevels, Manifest, Move, Part
from snntorch_ecl.measurement import (
    Constants,
    Energy,
    Evaluation,
    ExitCurve,
    ExitPoint,
    LayerActivity,
    LayerCheck,
    LayerCost,
    Verification,
)

LAYER = LayerActivity("conv<1>", 0.0625, 0.5, 0.125)
DUAL = Evaluation(1234, 16, (0.4375,) * 15 + (0.8125,), 0.9375, (0.5,) * 16, (LAYER,))
PLAIN = Evaluation(1234, 16, (0.3125,) * 16, 0.9375, (0.5,) * 16, (LAYER,))
MADE = replace(DUAL, agreement=(0.6875,) * 16)
CHECKED = Verification(40, 4, (LayerCheck("conv<1>", 0.0625, 0.75, 0.125, 0.25),))
BOTH = {"dual threshold": DUAL, "IF": PLAIN}
COST = Energy(
    20, 4, (LayerCost("conv<1>", "Conv2d", macs=2000.0, acs=777.0, ann_macs=9000.0),), ("Add",),
    Constants(),
)  # fmt: skip
DIGIT = DigitRun(
    torch.zeros(28, 28), 3, 3, {"dual threshold": (3,), "IF": (5,)}, "conv<1>",
    {"dual threshold": torch.ones(1, 2), "IF": torch.zeros(1, 2)}, torch.ones(2),
)  # fmt: skip
RESULTS: dict[str, tuple[Result, list[str]]] = {
    "Allocation": (
        Allocation(4, 0.5, 96, 32, 0.125, 0.25, (LayerLevels("conv<1>", 4, 2, 1234.5, 617.2),),
                   (Move("conv<1>", 3, 0.1875, 0.75), Move("conv<1>", 2, 0.25, 0.5))),
        ["T = 4 for 50 %", "conv<1>", "1,234", "617", "96 images", "32 others", "12.5", "25"],
    ),
    "Evaluation": (DUAL, ["1,234 images", "T = 16", "81.25", "93.75", "conv<1>", "6.25"]),
    "Energy": (COST, ["T = 4", "2,000", "777", "9,000", "conv<1>", "Not counted: memory"]),
    "ExitCurve": (
        ExitCurve(30, 2, (ExitPoint(0.9, 1.75, 0.625),), (0.5, 0.6875)),
        ["30 images", "0.9", "1.75", "62.50", "no exit", "68.75"],
    ),
    "Manifest": (
        Manifest((Part(name="conv<1>", kind="Conv2d", synapses=1234, weight_bytes=77),), 4, 8, 24),
        ["8-bit weights", "24-bit membranes", "4 steps", "conv<1>", "1,234", "77"],
    ),
    "Verification": (
        CHECKED,
        ["conv<1>", "6.25", "75.00", "12.50", "25.00"],
    ),
    "ConversionResult": (
        ConversionResult(
            ConversionConfig(model="nets:net", images="images"), Path("out"), 256, 2.5,
            Outcome(MADE, CHECKED, labelled=True, classes=("a", "b"), compensation=None),
        ),
        ["1,234 images", "T = 16", "81.25", "68.75", "conv<1>", "75.00"],
    ),
    "Ablation": (
        Ablation((1, 16), BOTH),
        ["1,234 images", "dual threshold", "IF", "T = 1", "T = 16", "43.75", "81.25", "31.25"],
    ),
    "Sweep": (
        Sweep((Point(4, 2, (0.5, 0.75)), Point(4, 8, (0.25, 0.25))), {4: (0.875, 0.875)}),
        ["L = 4", "T = 2", "T = 8", "62.50 ± 17.68*", "25.00 ± 0.00", "87.50 ± 0.00"],
    ),
    "Bench": (
        Bench((Timing("net[0]", 32, 4, 2.0, {"fast": 2.2}),), {"net[0]": 0.25}, 7, 2, "cpu"),
        ["net[0], batch 32: fast", "T = 4", "1.10", "2 thread(s)", "net[0] 0.25 s"],
    ),
    "Curves": (
        Curves((2.5, 1.25), (0.5, 0.875), {"relu": (1.0, 0.75)}),
        ["epoch", "1.2500", "87.50"],
    ),
    "DemoResult": (
        DemoResult(
            DemoConfig(output_dir=Path("out")), BOTH, BOTH, {"dual threshold": COST}, DIGIT,
            {"train": 2.5}, Path("r.html"), Path("n.safetensors"), Path("f.json"),
        ),
        ["1,234 held-out digits", "dual threshold", "IF", "T = 16", "81.25", "93.75"],
    ),
}  # fmt: skip


class Words(HTMLParser):
    """The text of a page; its elements are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.open = "", list[str]()
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag != "img":  # once matplotlib is imported, a result brings its picture
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def test_all_results_are_here() -> None:
    # tests/conversion/test_compensation.py reads that of compensate.
    found = {kind.__name__ for kind in Result.__subclasses__()} - {"Compensation"}
    assert found == set(RESULTS)


@pytest.mark.parametrize("name", RESULTS)
def test_printing_shows_its_figures(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    result, words = RESULTS[name]
    print(result)
    shown = " ".join(re.sub(r"[│┃]", " ", capsys.readouterr().out).split())
    assert [word for word in words if word not in shown] == []


@pytest.mark.parametrize("name", RESULTS)
def test_a_notebook_shows_the_same_and_reads_no_markup_in_names(name: str) -> None:
    result, words = RESULTS[name]
    page = result._repr_html_()
    assert [word for word in words if word not in Words(page).text] == []
    assert "conv<1>" not in page
    assert page.count("<table>") == len(result.tables())


@pytest.mark.parametrize("name", RESULTS)
def test_its_plain_data_is_json_and_holds_every_number(name: str) -> None:
    result, _ = RESULTS[name]
    data = result.to_dict()
    text = json.dumps(data, allow_nan=False)
    assert json.loads(text).keys() == data.keys()
    expected = {
        "Evaluation": "0.8125", "Energy": "777.0", "ExitCurve": "0.6875", "Verification": "0.75",
        "Ablation": "0.3125", "Sweep": "0.875", "Bench": "2.2", "Curves": "1.25",
        "Allocation": "0.1875", "DemoResult": '"out"', "ConversionResult": "0.6875",
        "Manifest": "1234",
    }  # fmt: skip
    assert expected[name] in text


@pytest.mark.parametrize("name", RESULTS)
def test_it_draws_itself(name: str) -> None:
    figure = RESULTS[name][0].plot()
    assert isinstance(figure, Figure)
    drawn = [axes for axes in figure.axes if axes.lines or axes.patches or axes.collections]
    assert drawn == figure.axes


@pytest.mark.parametrize("name", RESULTS)
def test_it_cannot_be_changed(name: str) -> None:
    result, _ = RESULTS[name]
    with pytest.raises(FrozenInstanceError):
        result.added = 1  # type: ignore[attr-defined]


def test_one_seed_has_no_deviation() -> None:
    text = str(Sweep((Point(4, 2, (0.5,)),), {4: (0.875,)}))
    assert all(word in text for word in ("one seed", "50.00*", "87.50"))
    assert "±" not in text


def test_an_evaluation_shows_powers_of_two_and_what_was_asked_for() -> None:
    accuracy = tuple(t / 100 for t in range(1, 12))
    text = str(Evaluation(100, 11, accuracy, None, None, (), shown=(3, 8)))
    assert [int(t) for t in re.findall(r"T = (\d+) ", text)] == [1, 2, 3, 4, 8, 11]
    assert "3.00" in text


@pytest.mark.parametrize("name", RESULTS)
def test_its_tables_fit_eighty_columns(name: str) -> None:
    assert max(map(len, str(RESULTS[name][0]).splitlines())) <= 80


def test_large_counts_are_short() -> None:
    layer = LayerCost("conv", "Conv2d", macs=1e9, acs=36192256.0, ann_macs=12345.0, parameters=9999)
    text = str(Energy(1, 4, (layer,), (), Constants()))
    assert all(word in text for word in ("1.0 G", "36.2 M", "12.3 k", "9,999"))


def test_html_of_a_title_is_escaped_once() -> None:
    assert html.escape("T × the ANN's") in RESULTS["Bench"][0]._repr_html_()
