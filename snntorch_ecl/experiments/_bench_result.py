"""What timing found: seconds of each mode, and its ratio to T runs of the ANN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from .._util.figures import new_figure
from .._util.results import Result
from .._util.tables import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Timing:
    """One network at one batch size and T.

    Attributes:
        model: Its name.
        batch_size: B, images at a time.
        num_steps: Number of time steps, T.
        ann: Seconds for T runs of the ANN with its batch norms folded: median.
        modes: Seconds for one run of T steps, by mode: median.
    """

    model: str
    batch_size: int
    num_steps: int
    ann: float
    modes: Mapping[str, float]

    def ratio(self, mode: str) -> float:
        """Time as a multiple of what T runs of the ANN take."""
        return self.modes[mode] / self.ann


@dataclass(frozen=True)
class Bench(Result):
    """How long each way to run takes; see :func:`snntorch_ecl.experiments.run_bench`.

    Attributes:
        timings: One for each network, batch size and T.
        conversion: Seconds that ``convert`` takes, by network: median.
        repeats: Rounds.
        threads: Number of CPU threads.
        device: The device it ran on.
    """

    timings: tuple[Timing, ...]
    conversion: Mapping[str, float]
    repeats: int
    threads: int
    device: str

    def ratios(self) -> dict[tuple[str, int, str], dict[int, float]]:
        """By network, batch size and mode: the ratio at each T."""
        found: dict[tuple[str, int, str], dict[int, float]] = {}
        for timing in self.timings:
            for mode in timing.modes:
                key = (timing.model, timing.batch_size, mode)
                found.setdefault(key, {})[timing.num_steps] = timing.ratio(mode)
        return found

    def table(self) -> Table:
        """A row for each network, batch size and mode."""
        steps = sorted({timing.num_steps for timing in self.timings})
        rows = [
            (f"{model}, batch {images}: {mode}", *(f"{at[t]:.2f}" for t in steps))
            for (model, images, mode), at in self.ratios().items()
        ]
        converted = ", ".join(f"{name} {s:.2f} s" for name, s in self.conversion.items())
        return table(
            f"Time as a multiple of T × the ANN's; medians of {self.repeats}, {self.device}, "
            f"{self.threads} thread(s)",
            ("", *(f"T = {t}" for t in steps)),
            rows,
            note=f"Conversion: {converted}.",
        )

    def plot(self) -> Figure:
        """The ratio over T, a picture for each network and batch size (needs matplotlib)."""
        cases = list(dict.fromkeys((t.model, t.batch_size) for t in self.timings))
        figure, _ = new_figure(columns=len(cases), size=(3.6 * len(cases), 3.8))
        for axes, (model, images) in zip(figure.axes, cases, strict=True):
            self._draw(axes, model, images)
        figure.axes[0].set_ylabel("time / (T × the ANN's)")
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3
        )
        return figure

    def _draw(self, axes: Axes, model: str, images: int) -> None:
        """A line for each mode, of one network at one batch size."""
        ratios = self.ratios()
        for (*case, mode), at in ratios.items():
            if case == [model, images]:
                axes.plot(list(at), list(at.values()), "o-", markersize=4, label=mode)
        axes.axhline(1, color="black", linestyle="--", linewidth=1, label="T runs of the ANN")
        axes.set_title(f"{model}, batch {images}", fontsize=10)
        axes.set_xlabel("time steps T")
        axes.set_xticks(sorted({timing.num_steps for timing in self.timings}))
        axes.set_ylim(0, 1.05 * max(max(at.values()) for at in ratios.values()))
