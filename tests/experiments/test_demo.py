"""The main job, run once and looked at from every side: on some digits, weekly on all."""

from __future__ import annotations

import functools
import html
import json
import math
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader, Subset

import snntorch_ecl as ecl
from snntorch_ecl._util.tables import render
from snntorch_ecl.errors import ConfigError, DataError
from snntorch_ecl.experiments import DemoConfig, DemoResult, Split, _demo, digits, run_demo
from snntorch_ecl.experiments._ablation import DUAL, PLAIN
from snntorch_ecl.experiments._demo_words import NEXT
from snntorch_ecl.models import DigitNet, load_pretrained_snn

SHOWN = (1, 2, 4, 8, 16)


class Run(NamedTuple):
    """A run and what it did to its surroundings."""

    result: DemoResult
    random_before: Tensor
    random_after: Tensor
    connections: list[Any]


@contextmanager
def no_network() -> Iterator[list[Any]]:
    """Refuse connections beyond this machine, and note them in case the error is swallowed."""
    tried: list[Any] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def local(host: Any) -> bool:
        return host in ("localhost", "127.0.0.1", "::1", None)

    def guarded_connect(own: socket.socket, address: Any) -> None:
        if own.family in (socket.AF_INET, socket.AF_INET6) and not local(address[0]):
            tried.append(address)
            raise OSError(f"no network here: {address}")
        connect(own, address)

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not local(host):
            tried.append(host)
            raise socket.gaierror(f"no network here: {host}")
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket, "getaddrinfo", guarded_look_up)
        yield tried


def some_digits() -> Split:
    """Every fourth digit to train on, and every tenth of those held out."""
    train, test = digits()
    return Split(Subset(train, range(0, 4000, 4)), Subset(test, range(0, 1000, 10)))


@functools.cache
def quick_run(base: Path, data: Callable[[], Split] = digits) -> Run:
    """The one run; other test modules of the session share it."""
    config = DemoConfig(quick=True, output_dir=base / data.__name__ / "made on demand")
    torch.manual_seed(123)
    before = torch.get_rng_state()
    with no_network() as tried, pytest.MonkeyPatch.context() as patch:
        patch.setattr(_demo, "digits", data)
        if data is some_digits:  # as many steps as on all digits
            training = replace(config.training, batch_size=16)
            patch.setattr(DemoConfig, "training", training)
        result = run_demo(config, progress=False)
    return Run(result, before, torch.get_rng_state(), tried)


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


def cells(result: DemoResult) -> list[list[str]]:
    """The table as people see it."""
    lines = [line for line in render(result.table()).splitlines() if line[0] in "┃│"]
    return [[cell.strip() for cell in line.strip("┃│").replace("┃", "│").split("│")]
            for line in lines]  # fmt: skip


class Text(HTMLParser):
    """Tables and visible text of the report."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.words = ""
        self.in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        self.in_cell = tag in ("td", "th")

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = False

    def handle_data(self, data: str) -> None:
        self.words += data
        if self.in_cell:
            self.rows[-1].append(data)


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
    samples, words = {digits: (1000, "1,000"), some_digits: (100, "100")}[data]
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


def test_the_guard_against_the_network_works() -> None:
    with no_network() as tried:
        with pytest.raises(OSError, match="no network here"):
            socket.create_connection(("example.org", 80))
        with socket.socket() as own, pytest.raises(OSError, match="no network here"):
            own.connect(("192.0.2.1", 80))
    assert tried == ["example.org", ("192.0.2.1", 80)]


# ----------------------------------------------------------------------------------- config


@pytest.mark.parametrize("num_steps", [7, 0, -1])
def test_runs_shorter_than_the_levels_are_refused(num_steps: int) -> None:
    with pytest.raises(ConfigError, match=rf"num_steps must be .*; got {num_steps}"):
        DemoConfig(num_steps=num_steps)


def test_the_table_shows_the_steps_to_use() -> None:
    assert DemoConfig(levels=3, num_steps=5).shown_steps == (1, 2, 3, 4)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        with pytest.raises(DataError, match=rf"{place} cannot be written to"):
            run_demo(DemoConfig(output_dir=tmp_path / place), progress=False)


@pytest.mark.parametrize(("quick", "epochs"), [(False, 8), (True, 1)])
def test_the_recipe_follows_the_settings(quick: bool, epochs: int) -> None:
    training = DemoConfig(quick=quick, seed=9).training
    assert (training.epochs, training.seed) == (epochs, 9)


def test_no_figure_is_nan(result: DemoResult) -> None:
    text = result.figures.read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert math.isfinite(result.seconds["train"])
