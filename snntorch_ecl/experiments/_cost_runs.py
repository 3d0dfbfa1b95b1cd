"""Energy and early exit of a checkpoint as runs: settings in, JSON and pictures out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch.utils.data import DataLoader

from .._util.checks import check_whole_numbers
from .._util.processes import Place
from ..measurement._early_exit import CONFIDENCES, ExitCurve, check_confidences, exit_curve
from ..measurement._energy import Constants, Energy, energy
from ._measure import MeasureConfig, Opened, run_measurement, worth_fusing


@dataclass(frozen=True, kw_only=True)
class EnergyConfig(MeasureConfig):
    """What to count operations of; T is the largest of ``steps``.

    Attributes:
        negative_threshold: θ′ of the neurons; ``-inf`` (in YAML ``-.inf``) for plain IF.
        constants: Picojoules of each operation.
    """

    steps: tuple[int, ...] = (4,)
    images: int = 200
    negative_threshold: float = -1e-3
    constants: Constants = field(default_factory=Constants)


@dataclass(frozen=True, kw_only=True)
class ExitConfig(MeasureConfig):
    """Which confidences to stop at; every image stops after the largest of ``steps``.

    Attributes:
        confidences: Probabilities at which an image stops.
        min_steps: No image stops before.
    """

    steps: tuple[int, ...] = (8,)
    confidences: tuple[float, ...] = CONFIDENCES
    min_steps: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole_numbers("min_steps", (self.min_steps,), lowest=1)
        check_confidences(self.confidences)


def run_energy(config: EnergyConfig, output_dir: Path, *, progress: bool = True) -> Energy:
    """Count the converted network's operations on the test images.

    Args:
        config: What to count.
        output_dir: Where ``energy.json`` and ``energy.svg`` go.
        progress: Show a progress bar.

    Returns:
        The costs of one image.

    Raises:
        ConfigError: θ′ is positive.
        CheckpointError, DataError: The checkpoint or the data cannot be used, or a file cannot be
            written.
    """

    def measure(opened: Opened, place: Place) -> Energy:
        for neuron in opened.snn.neurons.values():
            neuron.negative_threshold = config.negative_threshold
        return energy(
            opened.snn,
            DataLoader(opened.test, config.batch_size),
            num_steps=max(config.steps),
            constants=config.constants,
            progress=progress and place.rank == 0,
        )

    return run_measurement(measure, config, output_dir, "energy")


def run_early_exit(config: ExitConfig, output_dir: Path, *, progress: bool = True) -> ExitCurve:
    """Measure accuracy against mean T; as :func:`run_energy`, files ``early_exit``."""

    def measure(opened: Opened, place: Place) -> ExitCurve:
        num_steps = max(config.steps)
        return exit_curve(
            opened.snn.fuse(worth_fusing(opened.test, num_steps)),
            DataLoader(opened.test, config.batch_size),
            max_steps=num_steps,
            confidences=config.confidences,
            min_steps=config.min_steps,
            progress=progress and place.rank == 0,
        )

    return run_measurement(measure, config, output_dir, "early_exit")
