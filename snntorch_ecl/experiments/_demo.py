"""The main job: real digits from training to a spiking network, with a report."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader

from .._util.checks import check_levels, check_seed
from .._util.rng import own_random_numbers
from .._util.tables import table
from ..conversion._convert import convert
from ..conversion._prepare import prepare
from ..errors import ConfigError
from ..measurement import Evaluation, evaluate
from ..measurement._energy import Energy, energy
from ..models import DigitNet
from ..network._network import SpikingNetwork
from ..nn._temporal import unfold
from ..settings._train import TrainConfig
from ..training._fit import fit
from ._ablation import DUAL, PLAIN
from ._data import Split, digits
from ._demo_report import SHOWN_STEPS, accuracy_rows, command_of, report_of
from ._records import settings_of_this_run, usable, write_json


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Settings of the demo.

    Attributes:
        levels: L of the activations.
        num_steps: Longest run of the spiking networks.
        seed: Of the weights and the order of the data; the same seed gives the same figures.
        quick: One epoch instead of eight: shows that everything works, not how well.
        output_dir: Where report, figures and network go.
    """

    levels: int = 4
    num_steps: int = 16
    seed: int = 0
    quick: bool = False
    output_dir: Path = field(default=Path("snntorch-ecl-demo"))

    def __post_init__(self) -> None:
        check_levels(self.levels)
        check_seed("seed", self.seed)
        if self.num_steps < max(SHOWN_STEPS):
            raise ConfigError(f"num_steps must be >= {max(SHOWN_STEPS)}; got {self.num_steps}")

    @property
    def training(self) -> TrainConfig:
        """The recipe of the digits."""
        return TrainConfig(epochs=1 if self.quick else 8, batch_size=64, lr=0.05, seed=self.seed)


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured, and where it put it.

    Attributes:
        config: Its settings.
        evaluations: By neuron, on one and the same checkpoint, over ``config.num_steps``.
        at_levels: The same over T = L steps, where neurons and activations have the same levels.
        costs: Operations and energy over T = L steps, by neuron.
        seconds: Wall time of each stage.
        report: The HTML page.
        network: The saved spiking network.
        figures: All figures as JSON.
    """

    config: DemoConfig
    evaluations: Mapping[str, Evaluation]
    at_levels: Mapping[str, Evaluation]
    costs: Mapping[str, Energy]
    seconds: Mapping[str, float]
    report: Path
    network: Path
    figures: Path

    def table(self) -> Table:
        """Accuracy of the ANN and of both neurons over time."""
        columns, rows = accuracy_rows(self.evaluations)
        samples = next(iter(self.evaluations.values())).samples
        return table(f"Accuracy on {samples:,} held-out digits, %", columns, rows)


def run_demo(config: DemoConfig | None = None, *, progress: bool = True) -> DemoResult:
    """Train on digits, convert, compare both neurons on one checkpoint, write a report.

    Args:
        config: Settings.
        progress: Show progress bars.

    Returns:
        The measured figures and the files written.

    Raises:
        DataError: A file cannot be written.
        MissingDependencyError: The extra ``demo`` is not installed.
    """
    config = config or DemoConfig()
    with _one_thread(), own_random_numbers(config.seed):  # even loaders draw from them
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


def _run(config: DemoConfig, progress: bool) -> DemoResult:
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def lap(name: str) -> None:
        seconds[name] = time.perf_counter() - started - sum(seconds.values())

    usable(config.output_dir)
    data = digits()
    lap("load the digits")
    ann = prepare(DigitNet().train(), levels=config.levels)
    # The CPU even where there is an accelerator: the same seed, the same figures.
    fit(ann, data.train, config.training, accelerator="cpu", progress=progress)
    lap("train")
    networks = {DUAL: convert(ann), PLAIN: convert(ann, negative_threshold=-math.inf)}
    lap("convert")
    loader = DataLoader(data.test, batch_size=50)
    evaluations, at_levels = (
        {
            name: evaluate(snn, loader, num_steps=num_steps, ann=ann, progress=progress)
            for name, snn in networks.items()
        }
        for num_steps in (config.num_steps, config.levels)
    )
    lap("evaluate")
    few = [data.test[i][0] for i in range(0, len(data.test), 10)]  # type: ignore[arg-type]
    costs = {
        name: energy(snn, [torch.stack(few)], num_steps=config.levels, progress=False)
        for name, snn in networks.items()
    }
    lap("count operations")
    layer, spikes = _most_corrected(networks[DUAL], data, config.num_steps)
    page = report_of(config, evaluations, at_levels, costs, seconds, layer, spikes)
    report = page.write(config.output_dir / "report.html")
    network = networks[DUAL].save(config.output_dir / "network.safetensors")
    lap("report")
    result = DemoResult(
        config=config,
        evaluations=evaluations,
        at_levels=at_levels,
        costs=costs,
        seconds=seconds,
        report=report,
        network=network,
        figures=config.output_dir / "figures.json",
    )
    _write_json(result)
    return result


def _most_corrected(snn: SpikingNetwork, data: Split, num_steps: int) -> tuple[str, Tensor]:
    """Spikes ``[T, neurons]`` of one test image in the layer that takes most spikes back."""
    image = data.test[0][0].unsqueeze(0)
    found: dict[str, Tensor] = {}

    def record(name: str) -> Any:
        def hook(module: Any, args: Any, output: Tensor) -> None:
            found[name] = unfold(output, num_steps)[:, 0].flatten(1)

        return hook

    hooks = [n.register_forward_hook(record(name)) for name, n in snn.neurons.items()]
    with torch.inference_mode():
        snn(image, num_steps=num_steps)
    for hook in hooks:
        hook.remove()
    snn.reset()
    name = max(found, key=lambda key: float((found[key] < 0).float().mean()))
    spikes = found[name]
    busy = (spikes != 0).sum(0).topk(min(64, spikes.shape[1])).indices.sort().values
    return name, spikes[:, busy]


def _write_json(result: DemoResult) -> None:
    content = {
        "command": command_of(result.config),
        "config": {**asdict(result.config), "output_dir": str(result.config.output_dir)},
        "training": asdict(result.config.training),
        "seconds": dict(result.seconds),
        "evaluations": {name: e.to_dict() for name, e in result.evaluations.items()},
        "evaluations_at_levels": {name: e.to_dict() for name, e in result.at_levels.items()},
        "costs_at_levels": {name: cost.to_dict() for name, cost in result.costs.items()},
        **settings_of_this_run(),
    }
    write_json(result.figures, content)
