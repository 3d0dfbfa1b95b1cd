"""Pictures of results: what is drawn is what was measured."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

import snntorch_ecl
from snntorch_ecl._util.figures import NEGATIVE, POSITIVE, new_figure
from snntorch_ecl.errors import MissingDependencyError
from snntorch_ecl.experiments._sweep import Point, Sweep
from snntorch_ecl.experiments._sweep import _draw as sweep_axes
from snntorch_ecl.measurement import (
    Evaluation,
    LayerActivity,
    accuracy_axes,
    error_axes,
    raster_axes,
    rate_axes,
)
from tests.helpers.figures import draws, legend

pytestmark = pytest.mark.usefixtures("pyplot_stays_untouched")


LAYERS = (
    LayerActivity("first", 0.25, 0.5, 0.125),
    LayerActivity("silent", None, 0.0, 0.0),
    LayerActivity("last", 0.5, 0.25, 0.0625),
)


DUAL = Evaluation(8, 4, (0.25, 0.5, 0.75, 1.0), 0.875, (0.5,) * 4, LAYERS)


PLAIN = Evaluation(8, 2, (0.125, 0.375), 0.875, (0.5,) * 2, LAYERS[::2])


ALONE = Evaluation(
    8, 2, (0.5, 0.75), None, None, tuple(LayerActivity(la.name, None, 0.5, 0.25) for la in LAYERS)
)


def line(axes: Axes, label: str) -> Line2D:
    (found,) = [each for each in axes.lines if each.get_label() == label]
    return found


def points(axes: Axes, label: str) -> list[tuple[float, float]]:
    found = line(axes, label)
    return list(zip(map(float, found.get_xdata()), map(float, found.get_ydata()), strict=True))


# --------------------------------------------------------------------------------- accuracy


def test_lines_hold_the_accuracies_in_per_cent(axes: Axes) -> None:
    accuracy_axes(axes, {"dual": DUAL, "IF": PLAIN})
    assert points(axes, "dual") == [(1, 25), (2, 50), (3, 75), (4, 100)]
    assert points(axes, "IF") == [(1, 12.5), (2, 37.5)]


def test_the_ann_is_a_dashed_line(axes: Axes) -> None:
    accuracy_axes(axes, {"none": ALONE, "dual": DUAL})
    assert list(line(axes, "ANN").get_ydata()) == [87.5, 87.5]
    assert line(axes, "ANN").get_linestyle() == "--"


def test_without_an_ann_there_is_no_line_for_it(axes: Axes) -> None:
    accuracy_axes(axes, {"SNN": ALONE})
    assert legend(axes) == ["SNN"]


def test_the_first_network_lies_on_top_and_heads_the_legend(axes: Axes) -> None:
    accuracy_axes(axes, {"dual": DUAL, "IF": PLAIN})
    drawn = [each.get_label() for each in axes.lines]
    assert drawn.index("dual") > drawn.index("IF")
    shown = legend(axes)
    assert shown.index("dual") < shown.index("IF")


def test_networks_have_colours_of_their_own(axes: Axes) -> None:
    names = ("a", "b", "c", "d")
    accuracy_axes(axes, dict.fromkeys(names, DUAL))
    assert len({line(axes, name).get_color() for name in names}) == len(names)


def test_steps_are_shown_as_powers_of_two_up_to_the_longest_run(axes: Axes) -> None:
    accuracy_axes(axes, {"IF": PLAIN, "dual": DUAL})
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "4"]
    assert draws(axes)


# ------------------------------------------------------------------------- errors and rates


def test_errors_are_drawn_in_per_cent_and_unknown_ones_left_out(axes: Axes) -> None:
    error_axes(axes, {"dual": DUAL, "IF": PLAIN})
    assert list(line(axes, "dual").get_xdata()) == [25, 50]
    assert list(line(axes, "dual").get_ydata(orig=True)) == ["first", "last"]
    assert draws(axes)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["first", "last"]


def test_a_network_without_errors_draws_no_point(axes: Axes) -> None:
    error_axes(axes, {"alone": ALONE, "dual": DUAL})
    assert points(axes, "alone") == []
    assert list(line(axes, "dual").get_ydata(orig=True)) == ["first", "last"]
    assert draws(axes)


def bars(axes: Axes, label: str) -> list[tuple[float, float]]:
    """Start and length of each bar."""
    (found,) = [each for each in axes.containers if each.get_label() == label]
    return [(bar.get_x(), bar.get_width()) for bar in found]


def test_bars_are_the_rates_negative_ones_behind_positive_ones(axes: Axes) -> None:
    rate_axes(axes, DUAL)
    assert bars(axes, "+1") == [(0, 37.5), (0, 0), (0, 18.75)]
    assert bars(axes, "−1") == [(37.5, 12.5), (0, 0), (18.75, 6.25)]
    assert draws(axes)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["first", "silent", "last"]


def test_bars_have_their_signs_colour(axes: Axes) -> None:
    rate_axes(axes, DUAL)
    for container, colour in zip(axes.containers, (POSITIVE, NEGATIVE), strict=True):
        assert {colors.to_hex(bar.get_facecolor()).upper() for bar in container} == {colour}


@pytest.mark.parametrize(
    "draw", [lambda a: error_axes(a, {"d": DUAL}), lambda a: rate_axes(a, DUAL)]
)
def test_the_first_layer_is_at_the_top(axes: Axes, draw: Any) -> None:
    draw(axes)
    assert axes.yaxis_inverted()


# ---------------------------------------------------------------------------------- figures


@pytest.mark.parametrize(("evaluation", "count"), [(DUAL, 3), (ALONE, 2)])
def test_an_evaluations_figure_compares_layers_where_it_can(
    evaluation: Evaluation, count: int
) -> None:
    figure = evaluation.plot()
    assert len(figure.axes) == count
    steps = list(range(1, evaluation.num_steps + 1))
    assert [x for x, _ in points(figure.axes[0], "SNN")] == steps
    assert len(figure.axes[-1].containers) == 2
    assert draws(figure.axes[0])


def test_evaluations_draw_themselves() -> None:
    assert points(DUAL.plot().axes[0], "SNN") == [(1, 25), (2, 50), (3, 75), (4, 100)]


def test_a_new_figure_has_the_axes_asked_for() -> None:
    figure, axes = new_figure(rows=2, columns=3, size=(6, 4))
    assert axes.shape == (2, 3)
    assert figure.get_size_inches().tolist() == [6, 4]
    assert not any(
        each.spines[side].get_visible() for each in axes.flat for side in ("top", "right")
    )


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"needs matplotlib, .*snntorch-ecl\[demo\]"):
        new_figure(size=(1, 1))


# ------------------------------------------------------------------------------------ sweep

SWEEP = Sweep(
    points=(
        Point(4, 4, (0.75, 0.875)), Point(4, 1, (0.25, 0.5)), Point(2, 1, (0.5, 0.5)),
        Point(2, 4, (0.625, 0.625)),
    ),
    ann={2: (0.75, 0.75), 4: (1.0, 1.0)},
)  # fmt: skip


def test_a_sweep_has_a_line_for_each_number_of_levels(axes: Axes) -> None:
    sweep_axes(axes, SWEEP)
    found = {
        each.get_label(): each.lines[0].get_xydata().tolist()
        for each in axes.containers
        if each.get_label().startswith("L")
    }
    assert found == {"L = 2": [[1, 50], [4, 62.5]], "L = 4": [[1, 37.5], [4, 81.25]]}
    assert draws(axes)


def test_a_sweeps_bars_are_the_deviations(axes: Axes) -> None:
    sweep_axes(axes, SWEEP)
    (four,) = [each for each in axes.containers if each.get_label() == "L = 4"]
    lengths = [bar[1][1] - bar[0][1] for bar in four.lines[2][0].get_segments()]
    # Of two values, the deviation is their distance over √2; bars reach it either way.
    assert lengths == pytest.approx([2 * 25 / 2**0.5, 2 * 12.5 / 2**0.5])


def test_a_sweeps_front_is_marked(axes: Axes) -> None:
    sweep_axes(axes, SWEEP)
    assert points(axes, "Pareto front") == [(1, 50), (4, 81.25)]


def test_no_legend_is_searched_a_place_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """matplotlib's search warns, where warnings are errors it fails, once a machine is busy."""
    searched = []
    monkeypatch.setattr(
        "matplotlib.legend.Legend._find_best_position",
        lambda *args, **options: searched.append(args) or (0, 0),
    )
    draws(DUAL.plot().axes[0])
    for name in ("sweep", "spikes"):
        figure = new_figure(size=(4, 3))[0]
        axes = figure.axes[0]
        sweep_axes(axes, SWEEP) if name == "sweep" else raster_axes(axes, torch.eye(4))
        draws(axes)
    assert searched == []


def test_every_legend_of_the_package_is_given_its_place() -> None:
    package = Path(snntorch_ecl.__file__).parent
    calls = [
        (path.name, call.lineno, {word.arg for word in call.keywords})
        for path in package.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "legend"
    ]
    assert len(calls) > 5
    # A word without a name is a dict of settings, such as ABOVE.
    assert [(name, line) for name, line, words in calls if not words & {"loc", None}] == []
