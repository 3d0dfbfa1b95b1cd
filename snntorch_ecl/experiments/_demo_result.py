"""The demo's settings, and what it measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from .._util.checks import check_seed, check_whole_numbers
from .._util.figures import new_figure
from .._util.results import Result
from .._util.tables import table
from ..errors import ConfigError
from ..measurement import Energy, Evaluation, accuracy_axes
from ..settings import TrainConfig
from ._ablation import accuracy_rows
from ._demo_digit import DigitRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_STEPS = (1, 2, 4, 8, 16)
"""The T of its tables; L is shown too."""


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Settings of the demo.

    Attributes:
        levels: Levels L of the activations.
        num_steps: Longest run of the spiking networks, to see what IF needs; at least L.
        seed: Seed of the weights and the order of the data; the same one gives the same figures.
        quick: One epoch instead of eight: shows that everything works, not how well.
        output_dir: Where report, figures and network go.

    Raises:
        ConfigError: A setting is outside its range.

    Example:
        >>> DemoConfig(quick=True).training.epochs
        1
    """

    levels: int = 8
    num_steps: int = 16
    seed: int = 0
    quick: bool = False
    output_dir: Path = field(default=Path("snntorch-ecl-demo"))

    def __post_init__(self) -> None:
        check_whole_numbers("levels", (self.levels,), lowest=1)
        check_seed("seed", self.seed)
        check_whole_numbers("num_steps", (self.num_steps,), lowest=1)
        if self.num_steps < self.levels:
            raise ConfigError(
                f"num_steps must be >= levels={self.levels}: the demo measures at T = L; got "
                f"{self.num_steps}"
            )

    @property
    def shown_steps(self) -> tuple[int, ...]:
        """The T of the tables, L among them."""
        return tuple(sorted({t for t in SHOWN_STEPS if t <= self.num_steps} | {self.levels}))

    @property
    def training(self) -> TrainConfig:
        """The recipe of the digits."""
        return TrainConfig(epochs=1 if self.quick else 8, batch_size=64, lr=0.05, seed=self.seed)

    @property
    def command(self) -> str:
        """The command that repeats the demo."""
        quick = " --quick" if self.quick else ""
        return f"snntorch-ecl demo --seed {self.seed} --levels {self.levels}{quick}"


def below_levels(levels: int) -> str:
    """Why a run of fewer steps fails, in a line."""
    return (
        f"Below T = {levels} a neuron cannot show all {levels} levels used in training, and the "
        "rounding errors add up from layer to layer. For fewer steps, fine-tune."
    )


def steps_at_equal_accuracy(evaluations: Mapping[str, Evaluation]) -> dict[str, int]:
    """The first T at which each network reaches what all of them reach at their best."""
    wanted = min(max(e.accuracy) for e in evaluations.values())
    return {
        name: next(t for t, share in enumerate(e.accuracy, start=1) if share >= wanted)
        for name, e in evaluations.items()
    }


@dataclass(frozen=True)
class DemoResult(Result):
    """What the demo measured, and where it put it.

    Attributes:
        config: Its settings.
        evaluations: By neuron, on one and the same checkpoint, over ``config.num_steps``.
        at_levels: The same over T = L steps, where neurons and activations have the same levels.
        costs: Operations and energy at equal accuracy, by neuron: each at the first T at which it
            is as accurate as the weaker one at its best.
        digit: One held-out digit as both networks see it.
        seconds: Wall time of each stage.
        report: The HTML page.
        network: The saved spiking network.
        figures: All figures as JSON.
    """

    config: DemoConfig
    evaluations: Mapping[str, Evaluation]
    at_levels: Mapping[str, Evaluation]
    costs: Mapping[str, Energy]
    digit: DigitRun
    seconds: Mapping[str, float]
    report: Path
    network: Path
    figures: Path

    def table(self) -> Table:
        """Accuracy of the ANN and of both neurons over time."""
        columns, rows = accuracy_rows(self.evaluations, self.config.shown_steps)
        samples = next(iter(self.evaluations.values())).samples
        levels = self.config.levels
        return table(
            f"Accuracy on {samples:,} held-out digits, %; use T = L = {levels}",
            columns,
            rows,
            note=below_levels(levels),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON: all that was measured, and how."""
        return {
            "command": self.config.command,
            "config": {**asdict(self.config), "output_dir": str(self.config.output_dir)},
            "training": asdict(self.config.training),
            "seconds": dict(self.seconds),
            "evaluations": {name: e.to_dict() for name, e in self.evaluations.items()},
            "evaluations_at_levels": {name: e.to_dict() for name, e in self.at_levels.items()},
            "costs_at_equal_accuracy": {name: cost.to_dict() for name, cost in self.costs.items()},
        }

    def plot(self) -> Figure:
        """Accuracy over time, a line for each neuron (needs matplotlib)."""
        figure, axes = new_figure(size=(6.0, 3.6))
        accuracy_axes(axes, self.evaluations)
        axes.set_xlabel("time steps T (logarithmic)")
        axes.axvline(self.config.levels, color="#b0b0b0", linewidth=1, zorder=0)
        return figure
