"""The main job, run once and looked at from every side: on some digits, weekly on all."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader

import snntorch_ecl as ecl
from snntorch_ecl._util.tables import render
from snntorch_ecl.experiments import DemoResult, Split, digits
from snntorch_ecl.experiments._ablation import DUAL, PLAIN
from snntorch_ecl.experiments._demo_words import NEXT
from snntorch_ecl.models import DigitNet, load_pretrained_snn
from tests.helpers.demo import Run, Text, cells, quick_run, some_digits

SHOWN = (1, 2, 4, 8, 16)


# `.ci/run` makes the whole one for every change, by the command.
@pytest.fixture(params=[some_digits, pytest.param(digits, marks=pytest.mark.slow)])
def data(request: pytest.FixtureRequest) -> Callable[[], Split]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def run(data: Callable[[], Split], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return quick_run(tmp_path_factory.getbasetemp(), data)


@pytest.fixture
def result(run: Run) -> DemoResult:
    return run.result


@pytest.fixture
def page(result: DemoResult) -> Text:
    return Text(result.report.read_text(encoding="utf-8"))


@pytest.fixture
def figures(result: DemoResult) -> dict[str, Any]:
    return json.loads(result.figures.read_text(encoding="utf-8"))


# ---------------------------------------------------------------------------------- figures


def test_the_table_shows_both_neurons_at_every_step_shown(result: DemoResult) -> None:
    head, *rows = cells(result)
    assert head == ["neuron", "ANN", *(f"T = {t}" for t in SHOWN)]
    assert [row[0] for row in rows] == ["dual threshold", "IF"]


def test_the_table_holds_the_measured_accuracies(result: DemoResult) -> None:
    for row, e in zip(cells(result)[1:], result.evaluations.values(), strict=True):
        expected = [e.ann_accuracy, *(e.accuracy[t - 1] for t in SHOWN)]
        assert row[1:] == [f"{100 * value:.2f}" for value in expected]


def test_it_measures_on_all_held_out_digits(result: DemoResult, data: Callable[[], Split]) -> None:
    runs = [*result.evaluations.values(), *result.at_levels.values()]
    samples, words = {digits: (1000, "1,000"), some_digits: (50, "50")}[data]
    assert {e.samples for e in runs} == {samples}
    assert f"{words} held-out digits" in render(result.table())


def test_runs_have_the_lengths_asked_for(result: DemoResult) -> None:
    assert {e.num_steps for e in result.evaluations.values()} == {16}
    assert {e.num_steps for e in result.at_levels.values()} == {8}


def test_both_neurons_come_from_one_network(result: DemoResult) -> None:
    dual, plain = result.evaluations[DUAL], result.evaluations[PLAIN]
    assert dual.ann_accuracy == plain.ann_accuracy
    assert [la.name for la in dual.layers] == [la.name for la in plain.layers]
    assert len(dual.layers) == 6


def test_the_network_has_learned_something(result: DemoResult) -> None:
    assert result.evaluations[DUAL].ann_accuracy > 0.5


def test_at_one_step_both_neurons_are_the_same(result: DemoResult) -> None:
    dual, plain = result.evaluations[DUAL], result.evaluations[PLAIN]
    assert dual.accuracy[0] == plain.accuracy[0]
    assert dual.agreement[0] == plain.agreement[0]
    assert dual.accuracy[1:] != plain.accuracy[1:]


def test_only_the_dual_neuron_takes_spikes_back(result: DemoResult) -> None:
    dual, plain = (result.evaluations[name].layers for name in (DUAL, PLAIN))
    assert {layer.negative_rate for layer in plain} == {0}
    # Constant input gives the first layer nothing to take back.
    assert [layer.negative_rate > 0 for layer in dual] == [False] + 5 * [True]


def test_the_first_layer_is_exact_where_steps_are_levels(result: DemoResult) -> None:
    first, *others = result.at_levels[DUAL].layers
    assert first.error < 1e-6  # the sums of spikes are rounded
    assert all(0 < layer.error < 1 for layer in others)


def test_short_runs_are_the_beginning_of_long_ones(result: DemoResult) -> None:
    for name, short in result.at_levels.items():
        assert short.accuracy == result.evaluations[name].accuracy[:8]


# ------------------------------------------------------------------------------------ files


def test_files_are_where_it_says_and_nowhere_else(result: DemoResult) -> None:
    folder = result.config.output_dir
    assert {result.report, result.figures, result.network} == set(folder.iterdir())


def test_the_json_agrees_with_the_result(result: DemoResult, figures: dict[str, Any]) -> None:
    for key, runs in (
        ("evaluations", result.evaluations),
        ("evaluations_at_levels", result.at_levels),
        ("costs_at_equal_accuracy", result.costs),
    ):
        expected = {name: json.loads(json.dumps(e.to_dict())) for name, e in runs.items()}
        assert figures[key] == expected


def test_the_json_says_how_it_was_made(result: DemoResult, figures: dict[str, Any]) -> None:
    assert figures["command"] == "snntorch-ecl demo --seed 0 --levels 8 --quick"
    assert figures["config"] == {
        "levels": 8, "num_steps": 16, "seed": 0, "quick": True,
        "output_dir": str(result.config.output_dir),
    }  # fmt: skip
    assert figures["training"]["epochs"] == 1
    assert figures["versions"]["snntorch-ecl"] == ecl.__version__
    assert figures["versions"]["torch"] == torch.__version__
    assert figures["machine"]["threads"] == torch.get_num_threads()


def test_every_stage_is_timed(result: DemoResult, figures: dict[str, Any]) -> None:
    stages = ["load the digits", "train", "convert", "evaluate", "count operations", "report"]
    assert list(result.seconds) == list(figures["seconds"]) == stages
    assert all(0 < seconds < 3600 for seconds in result.seconds.values())


def test_costs_are_compared_at_equal_accuracy(result: DemoResult, page: Text) -> None:
    dual, plain = result.costs[DUAL], result.costs[PLAIN]
    assert dual.ann_total == plain.ann_total > 0
    assert dual.total("negative") >= plain.total("negative") == 0
    best = min(max(e.accuracy) for e in result.evaluations.values())
    for name, cost in result.costs.items():
        *before, reached = result.evaluations[name].accuracy[: cost.num_steps]
        assert reached >= best > max(before, default=0)
        shown = [f"{100 * reached:.2f}", f"{cost.total('macs') / 1e6:.2f}",
                 f"{cost.total('acs') / 1e6:.2f}", f"{1e6 * cost.snn_total:.2f}"]  # fmt: skip
        assert [f"{name}, T = {cost.num_steps}", *shown] in page.rows


def test_the_digit_is_answered_as_the_report_says(
    result: DemoResult, page: Text, data: Callable[[], Split]
) -> None:
    """Answers and spike counts come from the saved network here, run step by step."""
    run, snn = result.digit, ecl.load(result.network, DigitNet())
    image = run.image.view(1, 1, 28, 28)
    assert any(torch.equal(x[0], run.image) and int(y) == run.label for x, y in data().test), (
        "it is one of those held out"
    )
    total, answers, counts = torch.zeros(1, 10), [], 0
    neuron = snn.neurons[run.layer]
    handle = neuron.register_forward_hook(lambda *call: spikes.append(call[2].sign().flatten()))
    with torch.inference_mode():
        for _ in range(8):
            spikes: list[Tensor] = []
            total += snn.step(image)
            answers.append(int(total.argmax(1)))
            counts = counts + spikes[0]
    handle.remove()
    assert run.answers[DUAL] == tuple(answers)
    assert torch.equal(run.spikes[DUAL].sum(0), counts)
    assert f"labelled {run.label}. The ANN answers {run.ann}." in page.words
    assert ", ".join(map(str, answers)) in page.words


def test_the_raster_shows_few_neurons_sorted(result: DemoResult) -> None:
    run = result.digit
    shown = run.shown()
    assert 8 <= len(shown) <= 16
    assert run.levels[shown].diff().min() >= 0
    back = (run.spikes[DUAL] < 0).sum(0)
    assert int(back.argmax()) in shown.tolist()
    assert run.right(DUAL) > run.right(PLAIN)


def test_the_reports_pictures_load_nothing(result: DemoResult) -> None:
    text = result.report.read_text(encoding="utf-8")
    links = re.findall(r"""(?:href|src)=["']([^"']*)""", text)
    assert {link.partition(",")[0] if "," in link else link[0] for link in links} <= {
        "#", "data:image/png;base64",
    }  # fmt: skip


def test_the_reports_code_runs(result: DemoResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(result.config.output_dir)
    code = [code for _, code in NEXT if code]
    assert len(code) == 3
    text = html.unescape(result.report.read_text(encoding="utf-8"))
    assert all(part in text for part in code)
    with torch.random.fork_rng(devices=[]):
        exec("\n".join(code), {})


def test_the_reports_words_agree_with_the_shipped_network() -> None:
    shipped = load_pretrained_snn("digitnet-digits-l4-t2")
    words = " ".join(text for text, _ in NEXT)
    assert f"{100 * shipped.figures['accuracy']['2']:.1f} % at T = 2" in words
    assert f"had {100 * shipped.source.figures['accuracy']['2']:.1f} %" in words


def test_the_report_holds_the_table(result: DemoResult, page: Text) -> None:
    for row in cells(result):
        assert row in page.rows


def test_the_report_holds_every_layers_error_and_rates(result: DemoResult, page: Text) -> None:
    for dual, plain in zip(*(e.layers for e in result.at_levels.values()), strict=True):
        values = (dual.error, plain.error, dual.spike_rate, dual.negative_rate, plain.spike_rate)
        name = {"stage1.2": "conv 1: 12 × 28 × 28", "stage3.5": "conv 6: 32 × 7 × 7"}
        rows = [row[1:] if dual.name not in name else row for row in page.rows]
        shown = [f"{100 * value:.2f}" for value in values]
        assert [*([name[dual.name]] if dual.name in name else []), *shown] in rows


def test_the_report_speaks_of_negative_spikes_and_repeats_the_command(page: Text) -> None:
    assert "−1" in page.words
    assert "snntorch-ecl demo --seed 0 --levels 8 --quick" in page.words


def test_the_saved_network_gives_the_reported_accuracy(
    result: DemoResult, data: Callable[[], Split]
) -> None:
    loaded = ecl.load(result.network, DigitNet())
    right, test = 0, data().test
    for images, labels in DataLoader(test, batch_size=50):
        with torch.inference_mode():
            right += int((loaded(images, num_steps=8).argmax(1) == labels).sum())
    assert right / len(test) == result.evaluations[DUAL].accuracy[7]


def test_the_saved_network_has_dual_thresholds_and_the_levels_of_training(
    result: DemoResult,
) -> None:
    loaded = ecl.load(result.network, DigitNet())
    assert {neuron.negative_threshold for neuron in loaded.neurons.values()} == {-1e-3}
    assert {layer.levels for layer in loaded.layers} == {8}
    thresholds = {key for key in load_file(result.network) if "threshold" in key}
    assert len(thresholds) == 6


# --------------------------------------------------------------------------------- manners


def test_the_callers_random_numbers_go_on_undisturbed(run: Run) -> None:
    assert torch.equal(run.random_before, run.random_after)


def test_nothing_is_fetched_from_the_network(run: Run) -> None:
    assert run.connections == []


def test_no_figure_is_nan(result: DemoResult) -> None:
    text = result.figures.read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert math.isfinite(result.seconds["train"])
