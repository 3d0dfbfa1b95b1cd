"""The demo's report: its tables, pictures and words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from .._util.figures import new_figure
from .._util.tables import percent
from ..measurement import Evaluation, accuracy_axes, error_axes, raster_axes, rate_axes
from ..measurement._energy import Energy
from ._ablation import DUAL
from ._records import settings_of_this_run
from ._report import Picture, Report, Sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ._demo import DemoConfig


SHOWN_STEPS = (1, 2, 4, 8, 16)
"""The T of its tables."""


def report_of(
    config: DemoConfig,
    evaluations: Mapping[str, Evaluation],
    at_levels: Mapping[str, Evaluation],
    costs: Mapping[str, Energy],
    seconds: Mapping[str, float],
    layer: str,
    spikes: Tensor,
) -> Report:
    """Make the page.

    Args:
        config: The demo's settings.
        evaluations: By neuron, on one and the same checkpoint.
        at_levels: The same over T = L steps.
        costs: Operations over T = L steps, by neuron.
        seconds: Wall time of each stage.
        layer: The layer whose spikes are shown.
        spikes: ``[T, neurons]`` of one digit.

    Returns:
        The page, to be written.
    """
    dual = evaluations[DUAL]
    columns, rows = accuracy_rows(evaluations)
    accuracy, raster, layers = _figures(evaluations, at_levels, spikes)
    return Report(
        title="From digits to spikes",
        lead=(
            f"A small convolutional network was trained on 4,000 MNIST digits with activations of "
            f"L = {config.levels} levels and turned into a spiking one, once with dual-threshold "
            f"neurons and once with plain integrate-and-fire (IF) neurons: same weights, same "
            f"thresholds. Both were tested on {dual.samples:,} digits that training never saw."
        ),
        parts=[
            Sheet(
                "Accuracy, %",
                columns,
                rows,
                "T: accuracy of the spiking network after T time steps. At T = L the neurons show "
                "the levels that training knew; a longer run asks the network for finer ones.",
            ),
            Picture(
                "Accuracy over time",
                accuracy,
                "Both neurons on one and the same checkpoint. At T = 1 they are the same neuron: "
                "there is no earlier spike to take back.",
            ),
            Picture(
                f"Spikes of layer {layer} for one digit",
                raster,
                f"The {spikes.shape[1]} busiest neurons of the layer that corrects itself most. "
                "Blue: a spike. Orange: a spike taken back, because later input showed that it "
                "had come too early.",
            ),
            Picture(
                "Layer by layer",
                layers,
                f"Over T = L = {config.levels} steps, where a neuron can show exactly the levels "
                "that training knew. Left: how far the mean spike output is from the ANN's "
                "activation. Right: how busy each layer of dual-threshold neurons is.",
            ),
            _layer_sheet(at_levels),
            _cost_sheet(costs),
        ],
        facts=_facts(config, seconds),
    )


def accuracy_rows(
    evaluations: Mapping[str, Evaluation],
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of the table of accuracies."""
    columns = ("neuron", "ANN", *(f"T = {t}" for t in SHOWN_STEPS))
    rows = [
        (name, *map(percent, (e.ann_accuracy, *(e.accuracy[t - 1] for t in SHOWN_STEPS))))
        for name, e in evaluations.items()
    ]
    return columns, rows


def _figures(
    evaluations: Mapping[str, Evaluation], at_levels: Mapping[str, Evaluation], spikes: Tensor
) -> tuple[Figure, Figure, Figure]:
    accuracy, axes = new_figure(size=(8, 3.8))
    accuracy_axes(axes, evaluations)
    raster, axes = new_figure(size=(8, 4.6))
    raster_axes(axes, spikes)
    layers, (left, right) = new_figure(columns=2, size=(10, 3.2))
    error_axes(left, at_levels)
    rate_axes(right, at_levels[DUAL])
    return accuracy, raster, layers


def _facts(config: DemoConfig, seconds: Mapping[str, float]) -> list[tuple[str, str]]:
    """What is needed to repeat the figures."""
    run = settings_of_this_run()
    versions, machine = (
        ", ".join(f"{key} {value}" for key, value in run[part].items() if value is not None)
        for part in ("versions", "machine")
    )
    return [
        ("command", command_of(config)),
        ("seed", str(config.seed)),
        ("time", ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())),
        ("versions", versions),
        ("machine", machine),
    ]


def _layer_sheet(at_levels: Mapping[str, Evaluation]) -> Sheet:
    rows = []
    for dual, plain in zip(*(e.layers for e in at_levels.values()), strict=True):
        rates = (dual.spike_rate, dual.negative_rate, plain.spike_rate)
        rows.append((dual.name, *map(percent, (dual.error, plain.error, *rates))))
    return Sheet(
        f"Layers over T = L = {at_levels[DUAL].num_steps} steps, %",
        ("layer", "error, dual", "error, IF", "spikes, dual", "of which −1", "spikes, IF"),
        rows,
        "Spikes are counted per neuron and time step; a negative spike counts as one.",
    )


def _cost_sheet(costs: Mapping[str, Energy]) -> Sheet:
    dual = costs[DUAL]
    rows: list[tuple[str, ...]] = [
        ("ANN", f"{dual.total('ann_macs'):,.0f}", "–", "–", "–", f"{1e6 * dual.ann_total:.3g}")
    ]
    for name, cost in costs.items():
        rates = (cost.total("spikes"), cost.total("negative"))
        rows.append(
            (
                name,
                f"{cost.total('macs'):,.0f}",
                f"{cost.total('acs'):,.0f}",
                *(f"{rate / cost.total('neurons'):.3f}" for rate in rates),
                f"{1e6 * cost.snn_total:.3g}",
            )
        )
    return Sheet(
        f"What one image would cost on a chip, T = L = {dual.num_steps}",
        ("", "multiplications", "additions", "spikes a neuron", "of which −1", "µJ"),
        rows,
        f"Mean over {dual.samples} test digits. A multiplication with addition costs "
        f"{dual.constants.mac:g} pJ, an addition {dual.constants.ac:g} pJ (45 nm, 32 bits). Not "
        f"counted: memory traffic, static power, {', '.join(dual.not_counted) or 'nothing else'}.",
    )


def command_of(config: DemoConfig) -> str:
    """The command that repeats the demo."""
    quick = " --quick" if config.quick else ""
    return f"snntorch-ecl demo --seed {config.seed} --levels {config.levels}{quick}"
