"""Evaluation and ablation of a checkpoint as runs: settings in, JSON and pictures out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from .._util.processes import is_main
from ..measurement import Evaluation, evaluate
from ._ablation import NEURONS, Ablation, ablate, check_neurons
from ._measure import MeasureConfig, Opened, pays_to_compile, run_measurement


@dataclass(frozen=True, kw_only=True)
class AblateConfig(MeasureConfig):
    """What to compare on one checkpoint.

    Attributes:
        neurons: Some of :data:`snntorch_ecl.experiments.NEURONS`.

    Raises:
        ConfigError: A setting is outside its range, or there is no such neuron.

    Example:
        >>> AblateConfig(checkpoint="ann.safetensors", neurons=("IF",)).neurons
        ('IF',)
    """

    neurons: tuple[str, ...] = NEURONS

    def __post_init__(self) -> None:
        super().__post_init__()
        check_neurons(self.neurons)


def run_evaluation(config: MeasureConfig, output_dir: Path, *, progress: bool = True) -> Evaluation:
    """Measure the converted network at every t up to the longest T.

    Under ``torchrun`` each process measures its share, and the first writes the files.

    Args:
        config: What to measure.
        output_dir: Where ``evaluation.json`` and ``evaluation.svg`` go.
        progress: Show a progress bar.

    Returns:
        The evaluation.

    Raises:
        CheckpointError, DataError: The checkpoint or the data cannot be used, or a file cannot be
            written.

    Example:
        >>> config = MeasureConfig(checkpoint="ann.safetensors", steps=(1, 2, 4))
        >>> run_evaluation(config, Path("runs/evaluation"))  # doctest: +SKIP
    """

    def measure(opened: Opened) -> Evaluation:
        num_steps = max(config.steps)
        result = evaluate(
            opened.snn.compile(pays_to_compile(opened.test, num_steps)),
            opened.batches(config.batch_size),
            num_steps=num_steps,
            ann=opened.checkpoint.ann,
            distributed=opened.distributed,
            progress=progress and is_main(),
        )
        return replace(result, shown=tuple(sorted(set(config.steps))))

    return run_measurement(measure, config, output_dir, "evaluation")


def run_ablation(config: AblateConfig, output_dir: Path, *, progress: bool = True) -> Ablation:
    """Compare the neurons on one checkpoint.

    Under ``torchrun`` each process measures its share, and the first writes the files.

    Args:
        config: What to compare.
        output_dir: Where ``ablation.json`` and ``ablation.svg`` go.
        progress: Show progress bars.

    Returns:
        The comparison.

    Raises:
        CheckpointError, DataError: The checkpoint or the data cannot be used, or a file cannot be
            written.

    Example:
        >>> config = AblateConfig(checkpoint="ann.safetensors", steps=(1, 2, 4))
        >>> run_ablation(config, Path("runs/ablation"))  # doctest: +SKIP
    """

    def measure(opened: Opened) -> Ablation:
        return ablate(
            opened.checkpoint.ann,
            opened.batches(config.batch_size),
            snn=opened.snn,
            steps=config.steps,
            neurons=config.neurons,
            compiled=pays_to_compile(opened.test, max(config.steps)),
            distributed=opened.distributed,
            progress=progress and is_main(),
        )

    return run_measurement(measure, config, output_dir, "ablation")
