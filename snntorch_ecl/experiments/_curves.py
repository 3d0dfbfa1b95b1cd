"""The course of a training, read from its logs."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from .._util.figures import new_figure
from .._util.optional import require
from .._util.results import Result
from .._util.tables import percent, table
from ..errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_THRESHOLD = "threshold/"


@dataclass(frozen=True)
class Curves(Result):
    """Figures of each epoch, the first to the last.

    Attributes:
        loss: Mean training loss.
        accuracy: On the data measured after each epoch, within [0, 1]; empty if there was none.
        thresholds: λ by layer (its mean over channels), in the unit of the activations.
    """

    loss: tuple[float, ...]
    accuracy: tuple[float, ...]
    thresholds: Mapping[str, tuple[float, ...]]

    def table(self) -> Table:
        """Loss and accuracy of each epoch."""
        pairs = zip_longest(self.loss, self.accuracy)
        rows = [
            (str(epoch), "–" if loss is None else f"{loss:.4f}", percent(accuracy))
            for epoch, (loss, accuracy) in enumerate(pairs, start=1)
        ]
        return table("Training", ("epoch", "loss", "accuracy, %"), rows)

    def plot(self) -> Figure:
        """Loss, accuracy and thresholds over the epochs, side by side (needs matplotlib)."""
        ticker = require("matplotlib.ticker", extra="demo")
        panels = [("training loss", {"": self.loss})]
        if self.accuracy:
            panels.append(("accuracy, %", {"": tuple(100 * value for value in self.accuracy)}))
        if self.thresholds:
            panels.append(("threshold λ of each layer", dict(self.thresholds)))
        figure, _ = new_figure(columns=len(panels), size=(4.2 * len(panels), 3.4))
        for axes, (title, lines) in zip(figure.axes, panels, strict=True):
            for index, values in enumerate(lines.values()):
                # From the first layer, dark, to the last, light.
                shade = _layer_shade(index, len(lines))
                axes.plot(range(1, len(values) + 1), values, color=shade, linewidth=1.4)
            axes.set_title(title, fontsize=10)
            axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
            axes.set_xlabel("epoch" if len(lines) == 1 else "epoch (first layer dark, last light)")
            axes.grid(alpha=0.25)
        return figure


def _layer_shade(index: int, count: int) -> Any:
    """A colour for each layer, in their order."""
    return require("matplotlib", extra="demo").colormaps["viridis"](
        0.85 * index / max(count - 1, 1)
    )


def read_curves(output_dir: Path) -> Curves:
    """What a run has logged, over all slices in which it was run.

    Of an epoch that was run twice, the later figures. :class:`DataError` if there are no logs.
    """
    files = sorted(
        output_dir.glob("logs/version_*/metrics.csv"),
        key=lambda file: int(file.parent.name.removeprefix("version_")),
    )
    if not files:
        raise DataError(f"{output_dir} holds no logs of a training")
    columns: dict[str, dict[int, float]] = {}
    for file in files:
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                for name, value in row.items():
                    if value and row["epoch"]:
                        columns.setdefault(name, {})[int(row["epoch"])] = float(value)

    def over_epochs(name: str) -> tuple[float, ...]:
        values = columns.get(name, {})
        return tuple(values[epoch] for epoch in sorted(values))

    layers = [name for name in columns if name.startswith(_THRESHOLD)]
    return Curves(
        loss=over_epochs("loss_epoch"),
        accuracy=over_epochs("accuracy"),
        thresholds={name.removeprefix(_THRESHOLD): over_epochs(name) for name in layers},
    )
