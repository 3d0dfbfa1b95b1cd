"""The course of a training, read from its logs."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Curves", "read_curves"]

_THRESHOLD = "threshold/"


@dataclass(frozen=True)
class Curves:
    """Figures of each epoch, the first to the last.

    Attributes:
        loss: Mean training loss.
        accuracy: On the data measured after each epoch, within [0, 1]; empty if there was none.
        thresholds: λ by layer (its mean over channels), in the unit of the activations.
    """

    loss: tuple[float, ...]
    accuracy: tuple[float, ...]
    thresholds: Mapping[str, tuple[float, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    def plot(self) -> Figure:
        """Loss, accuracy and thresholds over the epochs (needs matplotlib)."""
        from .figures import curves_figure

        return curves_figure(self)


def read_curves(output_dir: Path) -> Curves:
    """Read what a run has logged, over all slices in which it was run.

    Args:
        output_dir: Folder of the run.

    Returns:
        Its curves; of an epoch that was run twice, the later figures.

    Raises:
        DataError: There are no logs.
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
