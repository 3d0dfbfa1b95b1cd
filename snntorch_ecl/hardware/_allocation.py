"""What ``allocate_levels`` chose, step by step, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from .._util.figures import POSITIVE, new_figure
from .._util.results import Result
from .._util.tables import percent, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LayerLevels:
    """The levels of one layer, and its spikes on the images held out.

    Attributes:
        name: Qualified name of the clip.
        start: L at the start.
        levels: L chosen.
        spikes_before: Spikes of either sign an image, at the start.
        spikes_after: The same with all layers' chosen levels.
    """

    name: str
    start: int
    levels: int
    spikes_before: float
    spikes_after: float


@dataclass(frozen=True)
class Move:
    """One step of the search, on the images that it chooses by.

    Attributes:
        name: The layer that got fewer levels.
        levels: Its new L.
        error: ``‖logits − logits of the ANN‖ / ‖logits of the ANN‖`` after it.
        spikes: Share of the spikes at the start that is left.
    """

    name: str
    levels: int
    error: float
    spikes: float


@dataclass(frozen=True)
class Allocation(Result):
    """The result of :func:`~snntorch_ecl.allocate_levels`. ``print`` it, or take ``to_dict()``.

    Attributes:
        num_steps: Number of time steps, T.
        budget: The share of the spikes that was asked for.
        fitted: Number of images that the levels were chosen by.
        held_out: Number of other images, on which the figures below were counted.
        error_before: Relative error of the outputs against the ANN's, at the start.
        error_after: The same with the chosen levels.
        layers: In the order in which they run.
        moves: What the search did, in order.
    """

    num_steps: int
    budget: float
    fitted: int
    held_out: int
    error_before: float
    error_after: float
    layers: tuple[LayerLevels, ...]
    moves: tuple[Move, ...]

    @property
    def levels(self) -> dict[str, int]:
        """L by layer, for :func:`~snntorch_ecl.levelled` and :func:`~snntorch_ecl.prepare`."""
        return {layer.name: layer.levels for layer in self.layers}

    @property
    def spikes_before(self) -> float:
        """Spikes an image at the start, on the images held out."""
        return sum(layer.spikes_before for layer in self.layers)

    @property
    def spikes_after(self) -> float:
        """Spikes an image with the chosen levels, on the images held out."""
        return sum(layer.spikes_after for layer in self.layers)

    def table(self) -> Table:
        """Levels and spikes of each layer, before and after."""
        rows = [
            (
                la.name,
                f"{la.start}",
                f"{la.levels}",
                _many(la.spikes_before),
                _many(la.spikes_after),
            )
            for la in self.layers
        ]
        rows.append(("all", "", "", _many(self.spikes_before), _many(self.spikes_after)))
        return table(
            f"Levels at T = {self.num_steps} for {percent(self.budget, 0)} % of the spikes",
            ("layer", "L at start", "L", "spikes at start", "spikes"),
            rows,
            note=f"Chosen by {self.fitted:,} images; spikes an image on {self.held_out:,} others, "
            f"where the outputs differ from the ANN's by {percent(self.error_before)} % before "
            f"and {percent(self.error_after)} % after.",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {**super().to_dict(), "levels": self.levels}

    def plot(self) -> Figure:
        """The error after each step of the search, over the spikes left (needs matplotlib)."""
        figure, axes = new_figure(size=(6.0, 3.8))
        spikes = [100 * move.spikes for move in self.moves]
        axes.plot(spikes, [100 * move.error for move in self.moves], "o-", color=POSITIVE)
        axes.axvline(100 * self.budget, color="#b0b0b0", linewidth=1, zorder=0)
        axes.set_xlabel("spikes left, % of the start")
        axes.set_ylabel("error of the outputs, %")
        axes.invert_xaxis()
        axes.grid(alpha=0.25)
        return figure


def _many(count: float) -> str:
    """A number of spikes as people write it."""
    return f"{count:,.0f}" if count >= 100 else f"{count:.3g}"
