"""The page that a conversion writes: answers, where it departs, how to load it."""

from __future__ import annotations

from .._util.figures import ABOVE, LINES, POSITIVE, new_figure
from .._util.tables import percent
from ._conversion_result import ConversionResult, shown_steps
from ._files import versions_and_machine
from ._report import Picture, Report, Sheet, Words


def report_of(result: ConversionResult) -> Report:
    """The page, to be written."""
    config, samples = result.config, result.outcome.evaluation.samples
    sizes = f" and spikes of {config.spike_sizes} sizes" if config.spike_sizes > 1 else ""
    return Report(
        title=f"{config.model} as a spiking network",
        lead=(
            f"A trained network was turned into a spiking one for T = {config.num_steps} time "
            f"steps{sizes}, from {result.calibration:,} images without labels. What follows was "
            f"measured on {samples:,} other images from the same folder."
        ),
        key_figures=_key_figures(result),
        parts=[
            _answers(result),
            _over_time(result),
            _departs(result),
            _layers(result),
            *_corrections(result),
            Words("Load it", [(_input(result), result.code)]),
        ],
        facts=_facts(result),
    )


def _key_figures(result: ConversionResult) -> list[tuple[str, str]]:
    """The answers at T."""
    found, steps = result.outcome.evaluation, result.config.num_steps
    assert found.agreement is not None  # the ANN was given
    same = (f"{percent(found.agreement[-1])} %", f"the same answer as the ANN, T = {steps}")
    if not result.outcome.labelled:
        return [same]
    ann, ours = (f"{percent(share)} %" for share in (found.ann_accuracy, found.accuracy[-1]))
    return [(ann, "right, the trained network (ANN)"), (ours, f"right, spiking, T = {steps}"), same]


def _answers(result: ConversionResult) -> Sheet:
    """Accuracy and agreement by T."""
    columns, rows = result.rows()
    note = (
        f"Levels a step: how many values a spike can have, silence included. It was converted for "
        f"T = {result.config.num_steps}; fewer steps are the same run, cut short."
    )
    if not result.outcome.labelled:
        note += (
            " There is no accuracy: the images are not in one folder for each class of the network."
        )
    return Sheet("Answers, %", columns, rows, note)


def _over_time(result: ConversionResult) -> Picture:
    """The same as a picture, at every T."""
    found = result.outcome.evaluation
    assert found.agreement is not None  # the ANN was given
    figure, axes = new_figure(size=(6.0, 3.4))
    steps = range(1, found.num_steps + 1)
    agreement = [100 * share for share in found.agreement]
    axes.plot(steps, agreement, "s--", color=LINES[1], label="same answer as the ANN")
    told = f"Agreement with the ANN: {', '.join(percent(share) for share in found.agreement)}"
    if result.outcome.labelled and found.ann_accuracy is not None:
        axes.plot(steps, [100 * s for s in found.accuracy], "o-", color=POSITIVE, label="right")
        axes.axhline(100 * found.ann_accuracy, linestyle=":", color=POSITIVE, label="right, ANN")
        told += f". Accuracy: {', '.join(percent(share) for share in found.accuracy)}"
    axes.set_xticks([t for t in steps if t in shown_steps(found.num_steps)])
    axes.set_xlabel("time steps T")
    axes.set_ylabel("images, %")
    axes.legend(**ABOVE, ncols=3)
    axes.grid(alpha=0.25)
    return Picture(
        "Answers over time",
        [(figure, f"Line chart over T = 1 to {found.num_steps}, per cent. {told}.")],
        "One run gives all of these: after each step, the average of the outputs so far.",
    )


def _departs(result: ConversionResult) -> Picture:
    """Errors layer by layer."""
    found = result.outcome.verification
    worst = found.worst
    errors, axes = new_figure(size=(5.2, found.height))
    found.draw_errors(axes)
    shares, axes = new_figure(size=(5.2, found.height))
    found.draw_shares(axes)
    return Picture(
        "Where it departs from the ANN",
        [
            (errors, f"Bars: relative error of each layer. It grows most in {worst.name}, to "
             f"{percent(worst.error)} %; the table below has the figures."),
            (shares, "Marks: shares of neurons of each layer that are exact, saturated and "
             "silent; the table below has the figures."),
        ],
        f"Relative error of each layer's mean spikes against the ANN's activation, over T = "
        f"{found.num_steps} steps and {found.samples:,} images. It grows most in {worst.name}. "
        "Saturated neurons would have to say more than θ, silent ones never spike and should.",
    )  # fmt: skip


def _layers(result: ConversionResult) -> Sheet:
    """The same as figures."""
    rows = [
        (la.name, *map(percent, (la.error, la.exact, la.saturated, la.silent)))
        for la in result.outcome.verification.layers
    ]
    return Sheet("Layers, %", ("layer", "error", "exact", "saturated", "silent"), rows)


def _corrections(result: ConversionResult) -> list[Sheet]:
    """What compensation kept, if it ran."""
    found = result.outcome.compensation
    if found is None:
        return []
    rows = [(la.name, percent(la.before), percent(la.after), f"{la.kept:g}") for la in found.layers]
    outcome = "" if found.kept else " Nothing was kept: the network is only calibrated."
    return [
        Sheet(
            "Corrections, error in %",
            ("layer", "before", "after", "share kept"),
            rows,
            f"Method {found.method}, fitted to {found.fitted:,} images and judged by "
            f"{found.held_out:,} others among those it was converted with. Outputs: "
            f"{percent(found.before)} % before, {percent(found.after)} % after.{outcome}",
        )
    ]


def _input(result: ConversionResult) -> str:
    """What the network takes."""
    config = result.config
    mean, std = (", ".join(f"{value:g}" for value in part) for part in (config.mean, config.std))
    shape = f"[B, {len(config.mean)}, {config.image_size}, {config.image_size}]"
    return f"images is a tensor {shape}: pixels from 0 to 1, minus {mean}, divided by {std}."


def _facts(result: ConversionResult) -> list[tuple[str, str]]:
    """What is needed to repeat it."""
    run, config = versions_and_machine(), result.config
    versions, machine = (
        ", ".join(f"{key} {value}" for key, value in run[part].items() if value is not None)
        for part in ("versions", "machine")
    )
    return [
        ("command", config.command(result.output_dir)),
        ("time", f"{result.seconds:.0f} s"),
        ("versions", versions),
        ("machine", machine),
    ]
