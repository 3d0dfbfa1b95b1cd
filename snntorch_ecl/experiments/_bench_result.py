"""What timing found: seconds of each mode, and its ratio to T runs of the ANN."""

from __future__ import annotations

import statistics
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

GROWS: Mapping[str, str] = {
    "num_steps": "a step more",
    "batch_size": "an image more",
    "image_size": "larger images",
    "layers": "more layers",
}
"""What can grow, and what its column is called."""


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
        image_size: Height and width of the images, in pixels.
        layers: How many layers with weights the network has.
    """

    model: str
    batch_size: int
    num_steps: int
    ann: float
    modes: Mapping[str, float]
    form: str = "float32"
    image_size: int = 32
    layers: int = 0

    @property
    def case(self) -> str:
        """Network, batch size and, if they are not the usual ones, image size and form."""
        form = "" if self.form == "float32" else f", {self.form}"
        size = "" if self.image_size == 32 else f", {self.image_size} px"
        return f"{self.model}, batch {self.batch_size}{size}{form}"

    def without(self, name: str) -> str:
        """All that was set but one thing, for people; the network stands for its layers."""
        parts = {
            "layers": self.model,
            "batch_size": f"batch {self.batch_size}",
            "image_size": f"{self.image_size} px",
            "form": self.form,
            "num_steps": f"T = {self.num_steps}",
        }
        return ", ".join(text for key, text in parts.items() if key != name)

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

    def slopes(self, by: str = "num_steps") -> dict[tuple[str, str], float]:
        """What more of something takes, as a multiple of what it takes the T runs of the ANN.

        Args:
            by: What grows: ``"num_steps"``, ``"batch_size"``, ``"image_size"`` or ``"layers"``. For
                layers, time networks of one family.

        Returns:
            By what stays the same, and mode: the slope between the smallest and the largest.
        """
        groups: dict[str, list[Timing]] = {}
        for timing in self.timings:
            groups.setdefault(timing.without(by), []).append(timing)
        found: dict[tuple[str, str], float] = {}
        for rest, group in groups.items():
            least, most = (pick(group, key=lambda t: getattr(t, by)) for pick in (min, max))
            if getattr(least, by) == getattr(most, by):
                continue
            for mode in (mode for mode in most.modes if mode in least.modes):
                more = most.modes[mode] - least.modes[mode]
                found[rest, mode] = more / (most.ann - least.ann)
        return found

    def table(self) -> Table:
        """The ratio at each T: a row for each case and mode."""
        steps = sorted({timing.num_steps for timing in self.timings})
        rows = (
            (f"{case}: {mode}", *(f"{at[t]:.2f}" if t in at else "–" for t in steps))
            for (case, mode), at in self.ratios().items()
        )
        converted = ", ".join(f"{name} {s:.2f} s" for name, s in self.conversion.items())
        return table(
            f"Time as a multiple of T × the ANN's; medians of {self.repeats}, {self.device}, "
            f"{self.threads} thread(s)",
            ("", *(f"T = {t}" for t in steps)),
            rows,
            note=f"Conversion: {converted}.",
        )

    def growth(self) -> dict[str, dict[str, float]]:
        """By mode and by what grows: the median of :meth:`slopes` over all cases."""
        found: dict[str, dict[str, list[float]]] = {}
        for by in GROWS:
            for (_, mode), slope in self.slopes(by).items():
                found.setdefault(mode, {}).setdefault(by, []).append(slope)
        return {
            mode: {by: statistics.median(slopes) for by, slopes in at.items()}
            for mode, at in found.items()
        }

    def tables(self) -> tuple[Table, ...]:
        """The ratios, and how time grows if anything was varied."""
        growth = self.growth()
        varied = [by for by in GROWS if any(by in at for at in growth.values())]
        if not varied:
            return (self.table(),)
        rows = (
            (mode, *(f"{at[by]:.2f}" if by in at else "–" for by in varied))
            for mode, at in growth.items()
        )
        grown = table(
            "What more takes, as a multiple of what it takes T runs of the ANN",
            ("", *(GROWS[by] for by in varied)),
            rows,
            note="Between the smallest and the largest; medians over all that stays the same.",
        )
        return self.table(), grown

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
