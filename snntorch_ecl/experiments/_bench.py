"""``bench``: how long inference takes, as a multiple of what T runs of the ANN take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import Tensor
from tqdm import tqdm

from .._util.checks import check_whole_numbers
from .._util.devices import default_device
from .._util.figures import new_figure
from .._util.results import Result
from .._util.tables import table
from ..conversion._convert import convert
from ._bench_modes import MODES, Mode, Subject, folded, random_images, subject
from ._measure import leave

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """What to measure.

    Attributes:
        models: Networks, by the names that ``snntorch_ecl.models.build`` knows.
        steps: T.
        batch_sizes: B.
        image_size: Height and width of the images, in pixels.
        repeats: Rounds; in each, every mode runs once, and medians are taken.
        threads: Of the processor, for all modes; 0 keeps torch's setting.
        seed: Of weights and images.
    """

    models: tuple[str, ...] = ("resnet18", "vgg16")
    steps: tuple[int, ...] = (1, 2, 4, 8)
    batch_sizes: tuple[int, ...] = (1, 32)
    image_size: int = 32
    repeats: int = 7
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole_numbers("steps", self.steps, lowest=1)
        check_whole_numbers("batch_sizes", self.batch_sizes, lowest=1)
        check_whole_numbers("image_size", (self.image_size,), lowest=1)
        check_whole_numbers("repeats", (self.repeats,), lowest=1)
        check_whole_numbers("threads", (self.threads,), lowest=0)


@dataclass(frozen=True)
class Timing:
    """One network at one batch size and T.

    Attributes:
        model: Its name.
        batch_size: B.
        num_steps: T.
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
    """The result of :func:`measure`. Take its table, ``to_dict()``, or draw it.

    Attributes:
        timings: One for each network, batch size and T.
        conversion: Seconds that ``convert`` takes, by network: median.
        repeats: Rounds.
        threads: Of the processor.
        device: Where it ran.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    def plot(self) -> Figure:
        """The ratio over T, a picture for each network and batch size (needs matplotlib)."""
        cases = list(dict.fromkeys((t.model, t.batch_size) for t in self.timings))
        figure, _ = new_figure(columns=len(cases), size=(3.6 * len(cases), 3.8))
        for axes, (model, images) in zip(figure.axes, cases, strict=True):
            for (*case, mode), at in self.ratios().items():
                if tuple(case) == (model, images):
                    axes.plot(list(at), list(at.values()), "o-", markersize=4, label=mode)
            axes.axhline(1, color="black", linestyle="--", linewidth=1, label="T runs of the ANN")
            axes.set_title(f"{model}, batch {images}", fontsize=10)
            axes.set_xlabel("time steps T")
            axes.set_xticks(sorted({timing.num_steps for timing in self.timings}))
            axes.set_ylim(0, 1.05 * max(max(at.values()) for at in self.ratios().values()))
        figure.axes[0].set_ylabel("time / (T × the ANN's)")
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3
        )
        return figure


def measure(
    config: BenchConfig, *, modes: Mapping[str, Mode] = MODES, progress: bool = True
) -> Bench:
    """Time all modes in turns, so that whatever else the machine does meets all of them.

    Args:
        config: What to measure.
        modes: What to compare, by name.
        progress: Show a progress bar.

    Returns:
        The timings.

    Raises:
        ConfigError: There is no such network.
    """
    device = default_device()
    timings, conversion = [], {}
    cases = [(m, b, t) for m in config.models for b in config.batch_sizes for t in config.steps]
    bar = tqdm(total=len(cases), desc="bench", disable=not progress, leave=False, delay=2)
    with torch.no_grad(), _threads(config.threads) as threads, bar:
        for name in config.models:
            given = subject(name, image_size=config.image_size, seed=config.seed)
            conversion[name] = statistics.median(
                seconds(partial(convert, given.ann), device) for _ in range(config.repeats)
            )
            for batch_size in config.batch_sizes:
                images = random_images(
                    given.model, batch_size, config.image_size, seed=config.seed
                ).to(device)
                runs = {key: mode(given, images) for key, mode in modes.items()}
                ann = _ann_run(given, images)
                for num_steps in config.steps:
                    found = _medians({"": ann, **runs}, num_steps, config.repeats, device)
                    timings.append(Timing(name, batch_size, num_steps, found.pop(""), found))
                    bar.update()
    return Bench(tuple(timings), conversion, config.repeats, threads, str(device))


def run_bench(config: BenchConfig, output_dir: Path, *, progress: bool = True) -> Bench:
    """Measure, and leave ``bench.json`` and ``bench.svg``.

    Args:
        config: What to measure.
        output_dir: The folder; it is made.
        progress: Show a progress bar.

    Returns:
        The timings.

    Raises:
        ConfigError: There is no such network.
        DataError: A file cannot be written.
    """
    result = measure(config, progress=progress)
    leave(output_dir, "bench", config, result)
    return result


def _ann_run(given: Subject, images: Tensor) -> Callable[[int], None]:
    ann = folded(given.model).to(images.device)

    def run(num_steps: int) -> None:
        for _ in range(num_steps):
            ann(images)

    return run


def _medians(
    runs: Mapping[str, Callable[[int], Any]], num_steps: int, repeats: int, device: torch.device
) -> dict[str, float]:
    """Seconds of each run. Each round begins with another one: no one always follows another."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for run in runs.values():  # compilers, allocators and caches warm up
        run(num_steps)
        run(num_steps)
    for _ in range(repeats):
        order.append(order.pop(0))
        for name in order:
            found[name].append(seconds(partial(runs[name], num_steps), device))
    return {name: statistics.median(values) for name, values in found.items()}


def seconds(call: Callable[[], Any], device: torch.device) -> float:
    """How long a call takes, until the device is done.

    Args:
        call: What to time.
        device: Accelerators compute while Python goes on.
    """
    wait = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device.type)
    if wait:
        wait()
    start = time.perf_counter()
    call()
    if wait:
        wait()
    return time.perf_counter() - start


@contextmanager
def _threads(number: int) -> Iterator[int]:
    before = torch.get_num_threads()
    if number:
        torch.set_num_threads(number)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
