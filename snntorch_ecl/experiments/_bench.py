"""``bench``: how long inference takes, as a multiple of what T runs of the ANN take."""

from __future__ import annotations

import itertools
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from .._util.checks import check_whole_numbers
from .._util.devices import default_device
from ..conversion import convert
from ._bench_forms import check_forms, formed, in_form
from ._bench_modes import (
    MODES,
    Mode,
    Subject,
    ann_run,
    build_subject,
    layers_of,
    random_images,
)
from ._bench_peer import peer_modes
from ._bench_result import Bench, Timing
from ._files import check_alone, write_result
from ._folder import own_folder


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """What to measure.

    Attributes:
        models: Networks, by the names that ``snntorch_ecl.models.build`` knows.
        steps: Numbers of time steps, T.
        batch_sizes: Numbers of images at a time, B.
        image_sizes: Heights (and widths) of the images, in pixels.
        forms: Precision and memory format, of network and images: ``"float32"``,
            ``"float32 channels-last"``, ``"bfloat16"``, ``"bfloat16 channels-last"``.
        repeats: Rounds; in each, every mode runs once, and medians are taken.
        threads: CPU threads, for all modes; 0 keeps torch's setting.
        seed: Seed of weights and images.

    Raises:
        ConfigError: A setting is outside its range.

    Example:
        >>> BenchConfig(models=("resnet20",), steps=(1, 4)).repeats
        7
    """

    models: tuple[str, ...] = ("resnet18", "vgg16")
    steps: tuple[int, ...] = (1, 2, 4, 8)
    batch_sizes: tuple[int, ...] = (1, 32)
    image_sizes: tuple[int, ...] = (32,)
    forms: tuple[str, ...] = ("float32",)
    repeats: int = 7
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole_numbers("steps", self.steps, lowest=1)
        check_whole_numbers("batch_sizes", self.batch_sizes, lowest=1)
        check_whole_numbers("image_sizes", self.image_sizes, lowest=1)
        check_forms(self.forms)
        check_whole_numbers("repeats", (self.repeats,), lowest=1)
        check_whole_numbers("threads", (self.threads,), lowest=0)


def time_modes(
    config: BenchConfig, *, modes: Mapping[str, Mode] | None = None, progress: bool = True
) -> Bench:
    """Time all modes in turns, so that whatever else the machine does meets all of them."""
    device = default_device()
    modes = {**MODES, **peer_modes()} if modes is None else modes
    timings: list[Timing] = []
    conversion: dict[str, float] = {}
    varied = (config.models, config.image_sizes, config.forms, config.batch_sizes, config.steps)
    total = math.prod(map(len, varied))
    bar = tqdm(total=total, desc="bench", disable=not progress, leave=False, delay=2)
    with torch.no_grad(), _threads(config.threads) as threads, bar:
        for name, size in itertools.product(config.models, config.image_sizes):
            subject = build_subject(name, image_size=size, seed=config.seed)
            conversion[name] = statistics.median(
                seconds(partial(convert, subject.ann), device) for _ in range(config.repeats)
            )
            for form, batch_size in itertools.product(config.forms, config.batch_sizes):
                case = Case(name, size, form, batch_size)
                for timing in _timings(config, case, in_form(subject, form), modes, device):
                    timings.append(timing)
                    bar.update()
    return Bench(tuple(timings), conversion, config.repeats, threads, str(device))


class Case(NamedTuple):
    """One network in one form, with images of one size and number."""

    model: str
    image_size: int
    form: str
    batch_size: int


def _timings(
    config: BenchConfig,
    case: Case,
    subject: Subject,
    modes: Mapping[str, Mode],
    device: torch.device,
) -> Iterator[Timing]:
    """One case, for each T."""
    images = random_images(subject.model, case.batch_size, case.image_size, seed=config.seed)
    images = formed(images.to(device), case.form)
    made = {key: _tried(key, partial(mode, subject, images)) for key, mode in modes.items()}
    runs = {key: run for key, run in made.items() if run}
    ann = ann_run(subject, images)
    for num_steps in config.steps:
        found = _medians({"": ann, **runs}, num_steps, config.repeats, device)
        own = found.pop("")
        yield Timing(
            case.model,
            case.batch_size,
            num_steps,
            own,
            found,
            case.form,
            image_size=case.image_size,
            layers=layers_of(subject.model),
        )


def run_bench(config: BenchConfig, output_dir: Path, *, progress: bool = True) -> Bench:
    """Time inference on this machine, as a multiple of what T runs of the ANN take.

    Args:
        config: What to measure.
        output_dir: Where ``bench.json`` and ``bench.svg`` go.
        progress: Show a progress bar.

    Returns:
        The timings.

    Raises:
        ConfigError: There is no such network, or there are several processes.
        DataError: A file cannot be written.

    Example:
        >>> run_bench(BenchConfig(models=("resnet20",)), Path("runs/bench"))  # doctest: +SKIP
    """
    check_alone("timing")
    with own_folder(output_dir):
        result = time_modes(config, progress=progress)
        write_result(output_dir, "bench", config, result)
    return result


def _medians(
    runs: Mapping[str, Callable[[int], Any]], num_steps: int, repeats: int, device: torch.device
) -> dict[str, float]:
    """Seconds of each run. Each round begins with another one: no one always follows another."""
    # Compilers, allocators and caches warm up.
    order = [name for name, run in runs.items() if _tried(name, partial(_twice, run, num_steps))]
    found: dict[str, list[float]] = {name: [] for name in order}
    for _ in range(repeats):
        order.append(order.pop(0))
        for name in order:
            found[name].append(seconds(partial(runs[name], num_steps), device))
    return {name: statistics.median(values) for name, values in found.items()}


def _twice(run: Callable[[int], Any], num_steps: int) -> bool:
    run(num_steps)
    run(num_steps)
    return True


def _tried(mode: str, call: Callable[[], Any]) -> Any:
    """What a call gives; None, and a warning, for a mode that fails: others keep their figures."""
    try:
        return call()
    except Exception as error:
        if not mode:  # the ANN, which all others are compared with
            raise
        why = f"{type(error).__name__}: {str(error).strip()[:300]}"
        warnings.warn(f"left out, as it fails here: {mode} ({why})", stacklevel=2)
        return None


def seconds(call: Callable[[], Any], device: torch.device) -> float:
    """How long a call takes until the device is done; accelerators work while Python goes on."""
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
    """So many threads for a while; yields how many there are."""
    before = torch.get_num_threads()
    if number:
        torch.set_num_threads(number)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
