"""The demo: real digits from training to a spiking network, with a report."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.data import DataLoader

from .._util.rng import own_random_numbers
from ..conversion import convert, prepare
from ..measurement import Energy, Evaluation, energy, evaluate
from ..models import DigitNet
from ..network import SpikingNetwork
from ..training import fit
from ._ablation import DUAL, PLAIN
from ._demo_digit import digit_run, spread
from ._demo_report import report_of
from ._demo_result import DemoConfig, DemoResult, steps_at_equal_accuracy
from ._digits import Split, digits
from ._files import check_alone, versions_and_machine, write_json
from ._folder import own_folder


def run_demo(config: DemoConfig | None = None, *, progress: bool = True) -> DemoResult:
    """Train on digits, convert, compare both neurons on one checkpoint, write a report.

    Args:
        config: Settings.
        progress: Show progress bars.

    Returns:
        The measured figures and the files written.

    Raises:
        ConfigError: There are several processes.
        DataError: A file cannot be written.
        MissingDependencyError: The extra ``demo`` is not installed.

    Example:
        >>> result = run_demo(DemoConfig(quick=True))  # doctest: +SKIP
        >>> print(result)  # doctest: +SKIP
    """
    config = config or DemoConfig()
    check_alone("the demo")
    # Random numbers of its own: even loaders draw from them.
    with own_folder(config.output_dir), _one_thread(), own_random_numbers(config.seed):
        return _run(config, progress)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread: the figures do not depend on the number of cores, nor the time on a busy one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Clock:
    """Wall time of each stage, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = time.perf_counter()

    def lap(self, name: str) -> None:
        """The stage that ends now."""
        self.seconds[name] = time.perf_counter() - self._started - sum(self.seconds.values())


def _run(config: DemoConfig, progress: bool) -> DemoResult:
    """The stages, one after the other."""
    clock = _Clock()
    data = digits()
    clock.lap("load the digits")
    ann = prepare(DigitNet().train(), levels=config.levels)
    # The CPU even where there is an accelerator: the same seed, the same figures.
    fit(ann, data.train, config.training, accelerator="cpu", progress=progress)
    clock.lap("train")
    networks = {DUAL: convert(ann), PLAIN: convert(ann, negative_threshold=-math.inf)}
    clock.lap("convert")
    evaluations, at_levels = (
        _evaluated(networks, ann, data, num_steps, progress)
        for num_steps in (config.num_steps, config.levels)
    )
    clock.lap("evaluate")
    costs = _costs(networks, data, evaluations)
    clock.lap("count operations")
    digit = digit_run(networks, ann, data.test, levels=config.levels)
    result = DemoResult(
        config=config,
        evaluations=evaluations,
        at_levels=at_levels,
        costs=costs,
        digit=digit,
        seconds=clock.seconds,
        report=config.output_dir / "report.html",
        network=config.output_dir / "network.safetensors",
        figures=config.output_dir / "figures.json",
    )
    report_of(result).write(result.report)
    networks[DUAL].save(result.network)
    clock.lap("report")
    write_json(result.figures, {**result.to_dict(), **versions_and_machine()})
    return result


def _evaluated(
    networks: Mapping[str, SpikingNetwork],
    ann: nn.Module,
    data: Split,
    num_steps: int,
    progress: bool,
) -> dict[str, Evaluation]:
    """Each network on all held-out digits."""
    loader = DataLoader(data.test, batch_size=50)
    return {
        name: evaluate(
            snn,
            loader,
            num_steps=num_steps,
            ann=ann,
            progress=progress and f"evaluate {name}, T = {num_steps}",
        )
        for name, snn in networks.items()
    }


def _costs(
    networks: Mapping[str, SpikingNetwork], data: Split, evaluations: Mapping[str, Evaluation]
) -> dict[str, Energy]:
    """Operations of each network at equal accuracy, on every tenth of the held-out digits."""
    few = torch.stack([image for image, _ in spread(data.test, 100)])
    steps = steps_at_equal_accuracy(evaluations)
    return {
        name: energy(snn, [few], num_steps=steps[name], progress=False)
        for name, snn in networks.items()
    }
