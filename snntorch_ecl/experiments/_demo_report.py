"""The demo's report: its tables, pictures and words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .._util.figures import new_figure
from .._util.tables import percent
from ..measurement import Energy, Evaluation, error_axes, rate_axes
from ._ablation import DUAL, PLAIN, accuracy_rows
from ._demo_digit import DigitRun, draw_digit, draw_raster
from ._demo_result import DemoResult, below_levels
from ._demo_words import LAYERS, NEXT, WHY_BELOW, layer_name
from ._files import versions_and_machine
from ._report import Picture, Report, Sheet, Words


def report_of(result: DemoResult) -> Report:
    """The page, to be written."""
    dual, plain = result.evaluations[DUAL], result.evaluations[PLAIN]
    levels = result.config.levels
    ann, ours, others = (
        f"{percent(share)} %"
        for share in (dual.ann_accuracy, dual.accuracy[levels - 1], plain.accuracy[levels - 1])
    )
    return Report(
        title="From digits to spikes",
        lead=(
            f"A small convolutional network was trained on 4,000 MNIST digits with activations of "
            f"L = {levels} levels. Then it was turned into a spiking network twice: with "
            "dual-threshold neurons, and with plain integrate-and-fire (IF) neurons. Weights and "
            f"thresholds are the same. All three were tested on {dual.samples:,} digits that "
            "training never saw."
        ),
        key_figures=[
            (ann, "the trained network (ANN)"),
            (ours, f"spiking, dual threshold, T = {levels} time steps"),
            (others, f"spiking, IF, T = {levels} time steps"),
        ],
        parts=[
            _accuracy_sheet(result),
            _accuracy_picture(result),
            _digit_picture(result.digit),
            _raster_picture(result.digit, levels),
            _layer_picture(result.at_levels),
            _layer_sheet(result.at_levels),
            _cost_sheet(result),
            Words("What next, with your own network", NEXT),
        ],
        facts=_facts(result),
    )


def _accuracy_sheet(result: DemoResult) -> Sheet:
    """Accuracy by neuron and T; the T to use is set off."""
    levels, steps = result.config.levels, result.config.shown_steps
    columns, rows = accuracy_rows(result.evaluations, steps)
    return Sheet(
        "Accuracy, %",
        columns,
        rows,
        f"T is the number of time steps. T = L = {levels} is the one to use. "
        f"{below_levels(levels)} {WHY_BELOW}",
        marked=2 + steps.index(levels),
    )


def _accuracy_picture(result: DemoResult) -> Picture:
    """Accuracy over T."""
    levels = result.config.levels
    values = "; ".join(
        f"{name}: " + ", ".join(f"{percent(e.accuracy[t - 1])} at T = {t}"
                                for t in result.config.shown_steps)
        for name, e in result.evaluations.items()
    )  # fmt: skip
    return Picture(
        "Accuracy over time",
        [(result.plot(), f"Line chart of accuracy in per cent over time steps. {values}.")],
        f"The axis of T is logarithmic; the vertical line is T = L = {levels}. At T = 1 the two "
        "neurons are the same: there is no earlier spike to take back.",
    )


def _digit_picture(run: DigitRun) -> Picture:
    """The digit of the raster, and what each network says."""
    answers = "; ".join(
        f"{name}: {', '.join(map(str, run.answers[name]))}" for name in (DUAL, PLAIN)
    )
    return Picture(
        "One digit, step by step",
        [(draw_digit(run), f"The digit, a handwritten {run.label}.")],
        f"A held-out digit, labelled {run.label}. The ANN answers {run.ann}. The spiking networks "
        f"answer, after 1, 2, … {len(run.answers[DUAL])} steps: {answers}. It is the first of 100 "
        "digits, spread over the classes, that the dual threshold gets right and IF does not; the "
        "first of all if there is none.",
    )


def _raster_picture(run: DigitRun, levels: int) -> Picture:
    """Who spikes when, with either neuron."""
    shown = run.shown()

    def alternative(name: str) -> str:
        spikes = run.spikes[name][:, shown]
        wrong = int((spikes.sum(0) != run.levels[shown]).sum())
        return (
            f"Spike raster, {name}: {len(shown)} neurons over {len(spikes)} steps, "
            f"{int((spikes > 0).sum())} positive and {int((spikes < 0).sum())} negative spikes; "
            f"{wrong} neurons end at another level than the ANN's."
        )

    return Picture(
        f"Spikes of {layer_name(run.layer)} for this digit",
        [(draw_raster(run, name), alternative(name)) for name in (DUAL, PLAIN)],
        "▲ is a spike, ▼ takes back a spike that came too early, as later input has shown. "
        f"“sum” counts ▲ minus ▼; “ANN” is the level, 0 to {levels}, of the ANN's activation, "
        f"which the sum should reach. Sums that miss it are orange. Of all {len(run.levels):,} "
        f"neurons of this layer, {percent(run.right(DUAL), 1)} % end at the ANN's level with the "
        f"dual threshold, {percent(run.right(PLAIN), 1)} % with IF. Shown are {len(shown)}, the "
        "same on both sides: one half take back the most spikes, the others are the busiest of "
        "the rest.",
    )


def _named(evaluation: Evaluation) -> Evaluation:
    """The same with layers named in plain words."""
    layers = tuple(replace(la, name=layer_name(la.name)) for la in evaluation.layers)
    return replace(evaluation, layers=layers)


def _layer_picture(at_levels: Mapping[str, Evaluation]) -> Picture:
    """Errors of both neurons, and the rates of one."""
    named = {name: _named(e) for name, e in at_levels.items()}
    errors, axes = new_figure(size=(4.8, 3.2))
    error_axes(axes, named)
    rates, axes = new_figure(size=(4.8, 3.2))
    rate_axes(axes, named[DUAL])
    last = {name: percent(e.layers[-1].error, 1) for name, e in at_levels.items()}
    return Picture(
        "Layer by layer",
        [
            (errors, "Relative error of each layer against the ANN. In the last one, conv 6, it is "
             f"{last[DUAL]} % with the dual threshold and {last[PLAIN]} % with IF."),
            (rates, "Positive and negative spikes per neuron and step of each layer, with the dual "
             "threshold; the table below has the figures."),
        ],
        f"Over T = L = {at_levels[DUAL].num_steps} steps. Lines: how far the mean spike output "
        "is from the ANN's activation. Bars: how busy each layer is, with the dual threshold.",
    )  # fmt: skip


def _layer_sheet(at_levels: Mapping[str, Evaluation]) -> Sheet:
    """What each layer is, how far it is from the ANN's, and how busy."""
    rows = []
    for dual, plain in zip(*(e.layers for e in at_levels.values()), strict=True):
        rates = (dual.spike_rate, dual.negative_rate, plain.spike_rate)
        values = map(percent, (dual.error, plain.error, *rates))
        rows.append((f"{layer_name(dual.name)}: {LAYERS.get(dual.name, '')}", *values))
    return Sheet(
        f"Layers over T = L = {at_levels[DUAL].num_steps} steps, %",
        ("layer: its output", "error, dual", "error, IF", "spikes, dual", "of them −1",
         "spikes, IF"),
        rows,
        "The network: six 3×3 convolutions, each with batch norm and an activation, which becomes "
        "a layer of spiking neurons; max-pooling behind conv 2 and conv 4; average pooling and a "
        "linear layer at the end, whose output is averaged over the steps. Error: ‖mean spike "
        "output − activation‖ / ‖activation‖. Spikes are counted per neuron and step; a negative "
        "one counts as one.",
    )  # fmt: skip


def _cost_sheet(result: DemoResult) -> Sheet:
    """Operations and energy of one image, where both neurons are as accurate."""
    dual = result.costs[DUAL]
    rows = [("ANN", percent(result.evaluations[DUAL].ann_accuracy),
             _millions(dual, "ann_macs"), "–", f"{1e6 * dual.ann_total:.2f}")]  # fmt: skip
    for name, cost in result.costs.items():
        accuracy = percent(result.evaluations[name].accuracy[cost.num_steps - 1])
        operations = (_millions(cost, "macs"), _millions(cost, "acs"))
        label = f"{name}, T = {cost.num_steps}"
        rows.append((label, accuracy, *operations, f"{1e6 * cost.snn_total:.2f}"))
    return Sheet(
        "What one image would cost on a chip, at equal accuracy",
        ("", "accuracy, %", "mult., 10⁶", "add., 10⁶", "µJ"),
        rows,
        "Each neuron at the first T at which it reaches the best accuracy of the weaker one, up "
        f"to T = {result.config.num_steps}. Multiplications (with addition) and additions are in "
        f"millions. An estimate: the mean over {dual.samples} test digits; a multiplication costs "
        f"{dual.constants.mac:g} pJ, an addition {dual.constants.ac:g} pJ (45 nm, 32 bits). Not "
        "counted: memory traffic, static power, the comparisons of pooling and the changes of a "
        "neuron's potential.",
    )


def _millions(cost: Energy, quantity: str) -> str:
    """A number of operations, in millions."""
    return f"{cost.total(quantity) / 1e6:.2f}"


def _facts(result: DemoResult) -> list[tuple[str, str]]:
    """What is needed to repeat the figures."""
    run = versions_and_machine()
    versions, machine = (
        ", ".join(f"{key} {value}" for key, value in run[part].items() if value is not None)
        for part in ("versions", "machine")
    )
    return [
        ("command", result.config.command),
        ("seed", str(result.config.seed)),
        ("time", ", ".join(f"{name} {value:.1f} s" for name, value in result.seconds.items())),
        ("versions", versions),
        ("machine", machine),
    ]
