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
    """Figures of each epoch, the first to the last; None where a run was killed as it wrote them.

    Attributes:
        loss: Mean training loss; of an epoch that was interrupted, over the steps that came after.
        accuracy: On the data measured after each epoch, within [0, 1]; empty if there was none.
        thresholds: λ by layer (its mean over channels), in the unit of the activations.
    """

    loss: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    thresholds: Mapping[str, tuple[float | None, ...]]

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
            shares = tuple(None if value is None else 100 * value for value in self.accuracy)
            panels.append(("accuracy, %", {"": shares}))
        if self.thresholds:
            panels.append(("threshold λ of each layer", dict(self.thresholds)))
        figure, _ = new_figure(columns=len(panels), size=(4.2 * len(panels), 3.4))
        for axes, (title, lines) in zip(figure.axes, panels, strict=True):
            for index, values in enumerate(lines.values()):
                # From the first layer, dark, to the last, light.
                shade = _layer_shade(index, len(lines))
                shown = [float("nan") if value is None else value for value in values]
                axes.plot(range(1, len(shown) + 1), shown, color=shade, linewidth=1.4)
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
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        # A line without an end is one that a run was killed in.
        for row in csv.DictReader(line for line in lines if line.endswith("\n")):
            for name, value in row.items():
                if value and row.get("epoch"):
                    columns.setdefault(name, {})[int(row["epoch"])] = float(value)

    def over_epochs(name: str) -> tuple[float | None, ...]:
        values = columns.get(name, {})
        return tuple(values.get(epoch) for epoch in range(max(values, default=-1) + 1))

    layers = [name for name in columns if name.startswith(_THRESHOLD)]
    return Curves(
        loss=over_epochs("loss_epoch"),
        accuracy=over_epochs("accuracy"),
        thresholds={name.removeprefix(_THRESHOLD): over_epochs(name) for name in layers},
    )
