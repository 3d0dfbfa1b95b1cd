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
        form: Precision and memory format.
    """

    model: str
    batch_size: int
    num_steps: int
    ann: float
    modes: Mapping[str, float]
    form: str = "float32"

    @property
    def case(self) -> str:
        """Network, batch size and, if it is not the usual one, form, for people."""
        form = "" if self.form == "float32" else f", {self.form}"
        return f"{self.model}, batch {self.batch_size}{form}"

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

    def ratios(self) -> dict[tuple[str, str], dict[int, float]]:
        """By case (network, batch size, form) and mode: the ratio at each T."""
        found: dict[tuple[str, str], dict[int, float]] = {}
        for timing in self.timings:
            for mode in timing.modes:
                found.setdefault((timing.case, mode), {})[timing.num_steps] = timing.ratio(mode)
        return found

    def slopes(self) -> dict[tuple[str, str], float]:
        """By case and mode: what one more step takes, as a multiple of one run of the ANN."""
        found: dict[tuple[str, str], float] = {}
        for case in dict.fromkeys(timing.case for timing in self.timings):
            *_, last = sorted(
                (t for t in self.timings if t.case == case), key=lambda t: t.num_steps
            )
            first = min((t for t in self.timings if t.case == case), key=lambda t: t.num_steps)
            steps = last.num_steps - first.num_steps
            for mode in last.modes if steps else ():
                more = (last.modes[mode] - first.modes[mode]) / steps
                found[case, mode] = more / (last.ann / last.num_steps)
        return found

    def table(self) -> Table:
        """A row for each case and mode; the last column is what each further step takes."""
        steps = sorted({timing.num_steps for timing in self.timings})
        slopes = self.slopes()
        rows = []
        for (case, mode), at in self.ratios().items():
            more = slopes.get((case, mode))
            figures = [f"{at[t]:.2f}" for t in steps] + ["" if more is None else f"{more:.2f}"]
            rows.append((f"{case}: {mode}", *figures))
        converted = ", ".join(f"{name} {s:.2f} s" for name, s in self.conversion.items())
        return table(
            f"Time as a multiple of T × the ANN's; medians of {self.repeats}, {self.device}, "
            f"{self.threads} thread(s)",
            ("", *(f"T = {t}" for t in steps), "a step more"),
            rows,
            note=f"Conversion: {converted}.",
        )

    def plot(self) -> Figure:
        """The ratio over T, a picture for each network and batch size (needs matplotlib)."""
        cases = list(dict.fromkeys(t.case for t in self.timings))
        figure, _ = new_figure(columns=len(cases), size=(3.6 * len(cases), 3.8))
        for axes, case in zip(figure.axes, cases, strict=True):
            self._draw(axes, case)
        figure.axes[0].set_ylabel("time / (T × the ANN's)")
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3
        )
        return figure

    def _draw(self, axes: Axes, case: str) -> None:
        """A line for each mode, of one case."""
        ratios = self.ratios()
        for (own, mode), at in ratios.items():
            if own == case:
                axes.plot(list(at), list(at.values()), "o-", markersize=4, label=mode)
        axes.axhline(1, color="black", linestyle="--", linewidth=1, label="T runs of the ANN")
        axes.set_title(case, fontsize=10)
        axes.set_xlabel("time steps T")
        axes.set_xticks(sorted({timing.num_steps for timing in self.timings}))
        axes.set_ylim(0, 1.05 * max(max(at.values()) for at in ratios.values()))
