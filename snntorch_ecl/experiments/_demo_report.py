"""The demo's report: its tables, pictures and words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from .._util.figures import new_figure
from .._util.tables import percent
from ..measurement import Energy, Evaluation, error_axes, raster_axes, rate_axes
from ._ablation import DUAL, accuracy_rows
from ._demo_result import SHOWN_STEPS, DemoResult
from ._files import versions_and_machine
from ._report import Picture, Report, Sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def report_of(result: DemoResult, layer: str, spikes: Tensor) -> Report:
    """The page, to be written; ``spikes`` ``[T, neurons]`` are of one digit in that layer."""
    config, evaluations, at_levels = result.config, result.evaluations, result.at_levels
    dual = evaluations[DUAL]
    columns, rows = accuracy_rows(evaluations, SHOWN_STEPS)
    raster, layers = _figures(at_levels, spikes)
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
                result.plot(),
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
            _cost_sheet(result.costs),
        ],
        facts=_facts(result),
    )


def _figures(at_levels: Mapping[str, Evaluation], spikes: Tensor) -> tuple[Figure, Figure]:
    """Spikes of one layer; errors and rates of all."""
    raster, axes = new_figure(size=(8, 4.6))
    raster_axes(axes, spikes)
    layers, (left, right) = new_figure(columns=2, size=(10, 3.2))
    error_axes(left, at_levels)
    rate_axes(right, at_levels[DUAL])
    return raster, layers


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


def _layer_sheet(at_levels: Mapping[str, Evaluation]) -> Sheet:
    """How far each layer is from the ANN's, and how busy."""
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
    """Operations and energy of one image."""
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
