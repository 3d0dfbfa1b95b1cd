"""The demo's settings, and what it measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from .._util.checks import check_levels, check_seed
from .._util.figures import new_figure
from .._util.results import Result
from .._util.tables import table
from ..errors import ConfigError
from ..measurement import Energy, Evaluation, accuracy_axes
from ..settings import TrainConfig
from ._ablation import accuracy_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_STEPS = (1, 2, 4, 8, 16)
"""The T of its tables."""


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Settings of the demo.

    Attributes:
        levels: Levels L of the activations.
        num_steps: Longest run of the spiking networks.
        seed: Seed of the weights and the order of the data; the same one gives the same figures.
        quick: One epoch instead of eight: shows that everything works, not how well.
        output_dir: Where report, figures and network go.

    Raises:
        ConfigError: A setting is outside its range.

    Example:
        >>> DemoConfig(quick=True).training.epochs
        1
    """

    levels: int = 4
    num_steps: int = 16
    seed: int = 0
    quick: bool = False
    output_dir: Path = field(default=Path("snntorch-ecl-demo"))

    def __post_init__(self) -> None:
        check_levels(self.levels)
        check_seed("seed", self.seed)
        if self.num_steps < max(SHOWN_STEPS):
            raise ConfigError(f"num_steps must be >= {max(SHOWN_STEPS)}; got {self.num_steps}")

    @property
    def training(self) -> TrainConfig:
        """The recipe of the digits."""
        return TrainConfig(epochs=1 if self.quick else 8, batch_size=64, lr=0.05, seed=self.seed)

    @property
    def command(self) -> str:
        """The command that repeats the demo."""
        quick = " --quick" if self.quick else ""
        return f"snntorch-ecl demo --seed {self.seed} --levels {self.levels}{quick}"


@dataclass(frozen=True)
class DemoResult(Result):
    """What the demo measured, and where it put it.

    Attributes:
        config: Its settings.
        evaluations: By neuron, on one and the same checkpoint, over ``config.num_steps``.
        at_levels: The same over T = L steps, where neurons and activations have the same levels.
        costs: Operations and energy over T = L steps, by neuron.
        seconds: Wall time of each stage.
        report: The HTML page.
        network: The saved spiking network.
        figures: All figures as JSON.
    """

    config: DemoConfig
    evaluations: Mapping[str, Evaluation]
    at_levels: Mapping[str, Evaluation]
    costs: Mapping[str, Energy]
    seconds: Mapping[str, float]
    report: Path
    network: Path
    figures: Path

    def table(self) -> Table:
        """Accuracy of the ANN and of both neurons over time."""
        columns, rows = accuracy_rows(self.evaluations, SHOWN_STEPS)
        samples = next(iter(self.evaluations.values())).samples
        return table(f"Accuracy on {samples:,} held-out digits, %", columns, rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON: all that was measured, and how."""
        return {
            "command": self.config.command,
            "config": {**asdict(self.config), "output_dir": str(self.config.output_dir)},
            "training": asdict(self.config.training),
            "seconds": dict(self.seconds),
            "evaluations": {name: e.to_dict() for name, e in self.evaluations.items()},
            "evaluations_at_levels": {name: e.to_dict() for name, e in self.at_levels.items()},
            "costs_at_levels": {name: cost.to_dict() for name, cost in self.costs.items()},
        }

    def plot(self) -> Figure:
        """Accuracy over time, a line for each neuron (needs matplotlib)."""
        figure, axes = new_figure(size=(8, 3.8))
        accuracy_axes(axes, self.evaluations)
        return figure
