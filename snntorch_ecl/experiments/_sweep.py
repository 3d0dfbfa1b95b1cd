"""What a sweep over L and T found: a grid of accuracies, its Pareto front, and its picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from rich.table import Table

from .._util.figures import BESIDE, new_figure
from .._util.results import Result
from .._util.tables import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    """Accuracies of one (L, T), over seeds.

    Attributes:
        levels: Number of levels, L.
        num_steps: Number of time steps, T.
        accuracies: One for each seed, within [0, 1].
    """

    levels: int
    num_steps: int
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return mean(self.accuracies)

    @property
    def spread(self) -> float:
        """Standard deviation over seeds; 0 for a single one."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0


def pareto_front(points: Iterable[Point]) -> tuple[Point, ...]:
    """The points that no other beats in steps or accuracy, by number of steps.

    Example:
        >>> slow, fast, bad = Point(4, 8, (0.9,)), Point(4, 2, (0.8,)), Point(2, 8, (0.7,))
        >>> [p.num_steps for p in pareto_front([slow, fast, bad])]
        [2, 8]
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.num_steps, -p.mean)):
        if not front or point.mean > front[-1].mean:
            front.append(point)
    return tuple(front)


@dataclass(frozen=True)
class Sweep(Result):
    """Accuracy over a grid of L and T.

    Attributes:
        points: The grid.
        ann: Accuracies of the ANN for each L, one a seed.
    """

    points: tuple[Point, ...]
    ann: Mapping[int, tuple[float, ...]]

    @property
    def front(self) -> tuple[Point, ...]:
        """The points that no other beats in steps or accuracy."""
        return pareto_front(self.points)

    def table(self) -> Table:
        """Accuracy in per cent, ± deviation of several seeds; the Pareto front is starred."""
        steps = sorted({point.num_steps for point in self.points})
        front = set(self.front)
        cells = {(p.levels, p.num_steps): _cell(p, p in front) for p in self.points}
        rows = [
            (
                f"L = {levels}",
                _cell(Point(levels, 0, accuracies), starred=False),
                *(cells[levels, t] for t in steps),
            )
            for levels, accuracies in self.ann.items()
        ]
        seeds = len(next(iter(self.ann.values())))
        of = "one seed" if seeds == 1 else f"mean ± deviation of {seeds} seeds"
        title = f"Accuracy, %, {of}; * on the Pareto front"
        return table(title, ("", "ANN", *(f"T = {t}" for t in steps)), rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        front = set(self.front)
        return {
            "ann": {str(levels): list(values) for levels, values in self.ann.items()},
            "points": [
                {
                    "levels": p.levels,
                    "num_steps": p.num_steps,
                    "accuracies": list(p.accuracies),
                    "pareto": p in front,
                }
                for p in self.points
            ],
        }

    def plot(self) -> Figure:
        """Accuracy over T, a line for each L, with the Pareto front (needs matplotlib)."""
        figure, axes = new_figure(size=(8, 4.2))
        _draw(axes, self)
        return figure


def _cell(point: Point, starred: bool) -> str:
    """Mean in per cent, with its deviation if there are several seeds."""
    spread = f" ± {100 * point.spread:.2f}" if len(point.accuracies) > 1 else ""
    return f"{100 * point.mean:.2f}{spread}{'*' if starred else ''}"


def _draw(axes: Axes, sweep: Sweep) -> None:
    """Accuracy over T, one line for each L with its deviation, and the Pareto front."""
    for levels in sweep.ann:
        points = sorted(
            (p for p in sweep.points if p.levels == levels), key=lambda point: point.num_steps
        )
        steps = [point.num_steps for point in points]
        means = [100 * point.mean for point in points]
        spreads = [100 * point.spread for point in points]
        axes.errorbar(
            steps, means, spreads, fmt="o-", markersize=4, capsize=2, label=f"L = {levels}"
        )
    front = sweep.front
    axes.plot(
        [point.num_steps for point in front],
        [100 * point.mean for point in front],
        "s",
        markersize=10,
        markerfacecolor="none",
        markeredgecolor="black",
        label="Pareto front",
    )
    axes.set_xscale("log", base=2)
    ticks = sorted({point.num_steps for point in sweep.points})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xlabel("time steps T")
    axes.set_ylabel("accuracy, %")
    # A deviation may reach beyond what an accuracy can be.
    axes.set_ylim(max(axes.get_ylim()[0], 0), min(axes.get_ylim()[1], 101))
    axes.grid(alpha=0.25)
    axes.legend(**BESIDE)
