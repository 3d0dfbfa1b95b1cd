"""Energy and early exit of a checkpoint as runs: settings in, JSON and pictures out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .._util.checks import check_min_steps
from .._util.processes import is_main
from ..errors import ConfigError
from ..measurement import CONFIDENCES, Constants, Energy, ExitCurve, energy, exit_curve
from ..measurement._early_exit import check_confidences
from ._measure import MeasureConfig, Opened, pays_to_compile, run_measurement


@dataclass(frozen=True, kw_only=True)
class EnergyConfig(MeasureConfig):
    """Which network to count operations of, at one T.

    Attributes:
        negative_threshold: θ′ of all neurons, ``-inf`` (in YAML ``-.inf``) for plain IF; None for
            the one that the network has.
        constants: Picojoules of each operation.

    Raises:
        ConfigError: A setting is outside its range.

    Example:
        >>> EnergyConfig(checkpoint="ann.safetensors").steps
        (4,)
    """

    steps: tuple[int, ...] = (4,)
    images: int = 200
    negative_threshold: float | None = None
    constants: Constants = field(default_factory=Constants)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_one("energy is counted", self.steps)


@dataclass(frozen=True, kw_only=True)
class ExitConfig(MeasureConfig):
    """Which confidences to stop at. ``steps`` holds one T, after which every image stops.

    Attributes:
        confidences: Probabilities at which an image stops.
        min_steps: No image stops before this step.

    Raises:
        ConfigError: A setting is outside its range.

    Example:
        >>> ExitConfig(checkpoint="ann.safetensors", confidences=(0.9, 0.99)).min_steps
        2
    """

    steps: tuple[int, ...] = (8,)
    confidences: tuple[float, ...] = CONFIDENCES
    min_steps: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_one("early exit is measured", self.steps)
        check_min_steps(self.min_steps, self.steps[0])
        check_confidences(self.confidences)


def _check_one(what: str, steps: tuple[int, ...]) -> None:
    """Refuse several T, such as those of an evaluation's settings: which one would be a guess."""
    if len(steps) != 1:
        raise ConfigError(f"{what} at one T; got steps={list(steps)}. Choose one (-T)")


def run_energy(config: EnergyConfig, output_dir: Path, *, progress: bool = True) -> Energy:
    """Count the spiking network's operations on the test images.

    Under ``torchrun`` each process counts on its share, and the first writes the files.

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

    Example:
        >>> config = EnergyConfig(checkpoint="ann.safetensors", steps=(2,))
        >>> run_energy(config, Path("runs/energy"))  # doctest: +SKIP
    """

    def measure(opened: Opened) -> Energy:
        if config.negative_threshold is not None:
            for neuron in opened.snn.neurons.values():
                neuron.negative_threshold = config.negative_threshold
        return energy(
            opened.snn,
            opened.batches(config.batch_size),
            num_steps=config.steps[0],
            constants=config.constants,
            distributed=opened.distributed,
            progress=progress and is_main(),
        )

    return run_measurement(measure, config, output_dir, "energy")


def run_early_exit(config: ExitConfig, output_dir: Path, *, progress: bool = True) -> ExitCurve:
    """Measure accuracy against mean T, where each image stops when the network is sure.

    Under ``torchrun`` each process measures its share, and the first writes the files.

    Args:
        config: What to measure.
        output_dir: Where ``early_exit.json`` and ``early_exit.svg`` go.
        progress: Show a progress bar.

    Returns:
        The curve.

    Raises:
        CheckpointError, DataError: The checkpoint or the data cannot be used, or a file cannot be
            written.

    Example:
        >>> config = ExitConfig(checkpoint="ann.safetensors", steps=(8,))
        >>> run_early_exit(config, Path("runs/exit"))  # doctest: +SKIP
    """

    def measure(opened: Opened) -> ExitCurve:
        num_steps = config.steps[0]
        return exit_curve(
            opened.snn.compile(pays_to_compile(opened.test, num_steps)),
            opened.batches(config.batch_size),
            max_steps=num_steps,
            confidences=config.confidences,
            min_steps=config.min_steps,
            distributed=opened.distributed,
            progress=progress and is_main(),
        )

    return run_measurement(measure, config, output_dir, "early_exit")
