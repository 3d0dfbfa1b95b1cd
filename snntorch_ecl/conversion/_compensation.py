"""What ``compensate`` tried, what it kept, and what that gained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from .._util.figures import LINES, POSITIVE, new_figure
from .._util.results import Result
from .._util.tables import percent, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LayerCorrection:
    """One correction, judged on the images that were held out.

    Attributes:
        name: Qualified name of the neuron behind the corrected layer; ``output`` for the logits.
        before: ``‖mean spikes − activation‖ / ‖activation‖`` without this correction, given those
            of the layers before; for ``distill``, without any. For the output, logits stand in the
            place of spikes.
        after: The same with what was kept of the correction; for ``distill``, of all.
        kept: The share of the correction that was kept: 1, 0.5, 0.25, or 0 for none.
    """

    name: str
    before: float
    after: float
    kept: float


@dataclass(frozen=True)
class Compensation(Result):
    """The record of :func:`~snntorch_ecl.compensate`. ``print`` it, or take ``to_dict()``.

    Attributes:
        method: ``weights``, ``biases``, ``steps`` or ``distill``.
        num_steps: Number of time steps, T.
        fitted: Number of images that the corrections were fitted to.
        held_out: Number of images that they were judged by.
        before: Relative error of the network's outputs on the images held out, before all.
        after: The same with all that was kept.
        kept: Whether the outputs came closer to the ANN's; if not, the network is unchanged.
        layers: In the order in which they run; layers that cannot be corrected are left out.
    """

    method: str
    num_steps: int
    fitted: int
    held_out: int
    before: float
    after: float
    kept: bool
    layers: tuple[LayerCorrection, ...]

    def table(self) -> Table:
        """Errors before and after each correction, in per cent."""
        outcome = "" if self.kept else ". Not kept: the network is unchanged"
        note = (
            f"Errors in % on the {self.held_out:,} images held out. Outputs: "
            f"{percent(self.before)} before, {percent(self.after)} after{outcome}."
        )
        rows = [
            (layer.name, percent(layer.before), percent(layer.after), f"{layer.kept:g}")
            for layer in self.layers
        ]
        title = f"{self.method}, T = {self.num_steps}, {self.fitted:,} images"
        return table(title, ("layer", "before", "after", "share kept"), rows, note=note)

    def plot(self) -> Figure:
        """Errors before and after each correction, layer by layer (needs matplotlib)."""
        names = [layer.name for layer in self.layers]
        figure, axes = new_figure(size=(7.0, max(2.0, 0.26 * len(names) + 1.2)))
        axes.plot([100 * layer.before for layer in self.layers], names, "o", color=LINES[1])
        axes.plot([100 * layer.after for layer in self.layers], names, "o", color=POSITIVE)
        axes.set_xlabel("error on held-out images, %: before (grey), after (blue)")
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.25)
        return figure
