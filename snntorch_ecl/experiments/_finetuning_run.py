"""Fine-tuning of the converted network itself, through both thresholds, as a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import snntorch.surrogate
from torch import Tensor, nn

from .._util.checks import check_share, check_whole_numbers
from .._util.devices import default_device
from .._util.processes import is_main, joined, place_here
from ..conversion import convert
from ..errors import ConfigError
from ..functional._neuron import SurrogateGradient
from ..measurement import Evaluation, evaluate
from ..models import Checkpoint, pretrained_names, pretrained_snn_names
from ..network import SpikingNetwork
from ..settings import TrainConfig
from ..surrogate import rectangular, triangular
from ..training import Committee, Teacher, fit, measure_norms
from ._files import check_processes, write_result
from ._finetuned import start_from_run
from ._folder import run_folder
from ._measure import MeasureConfig, Opened, open_checkpoint
from ._teachers import teachers_from

Surrogate = Literal["triangular", "rectangular", "atan"]
"""Shape of the gradient at a threshold: most near it, the clip's own, or snnTorch's default."""

_SHAPES: dict[Surrogate, Callable[[], SurrogateGradient]] = {
    "triangular": triangular,
    "rectangular": rectangular,
    "atan": snntorch.surrogate.atan,
}


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Fine-tuning with surrogate gradients, from the converted weights.

    Weights, biases and batch norms learn; at the end the norms are measured once more over the
    training images, in single precision, and folded. The thresholds stay as the ANN learned them.
    Part of the loss is the distance from the ANN's answers.

    Attributes:
        measure: Checkpoint and test data.
        num_steps: T to train at.
        distillation: Weight of the ANN's answers in the loss, within [0, 1]; the labels have the
            rest.
        surrogate: Gradient of a spike: :func:`snntorch_ecl.surrogate.triangular`;
            :func:`~snntorch_ecl.surrogate.rectangular`, as the ANN's own activation had it; or
            snnTorch's default, ``atan``.
        teachers: Checkpoints of more networks for the same classes and images, or names of networks
            that ship; what is learned then is the mean of their logits and the ANN's.
        start: Folder of another fine-tuning of the same checkpoint, say at a larger T, to start
            from; by default the ANN's weights.
        train: The recipe; a few epochs at a small learning rate.

    Raises:
        ConfigError: A setting is outside its range, or has no effect beside another one.

    Example:
        >>> TuneConfig(measure=MeasureConfig(checkpoint="ann.safetensors"), num_steps=1).train.lr
        0.05
    """

    measure: MeasureConfig
    num_steps: int = 2
    distillation: float = 0.7
    surrogate: Surrogate = "triangular"
    teachers: tuple[str, ...] = ()
    start: str | None = None
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(epochs=4, lr=0.05, gradient_clip=1.0)
    )

    def __post_init__(self) -> None:
        check_whole_numbers("num_steps", (self.num_steps,), lowest=1)
        check_share(self.distillation)
        if self.surrogate not in _SHAPES:
            allowed = ", ".join(_SHAPES)
            raise ConfigError(f"surrogate must be one of {allowed}; got {self.surrogate!r}")
        if self.measure.tuned is not None:
            raise ConfigError(
                f"measure.tuned has no effect in a fine-tuning; got {self.measure.tuned!r}. To go "
                "on from another one, set start"
            )
        if self.measure.pretrained in pretrained_snn_names():
            raise ConfigError(
                f"{self.measure.pretrained} is fine-tuned already; name the ANN that it comes from "
                f"(one of {', '.join(pretrained_names())})"
            )
        if self.start in pretrained_snn_names() and not Path(self.start).exists():
            raise ConfigError(
                f"start={self.start!r} ships with its batch norms folded, and they learn in a "
                "fine-tuning; name the folder of a run of your own"
            )
        if self.teachers and not self.distillation:
            raise ConfigError(
                "teachers have no effect with distillation=0; set it above 0, or give no teachers"
            )


class _AtSteps(nn.Module):
    """A spiking network at a fixed T, as one function of its images."""

    def __init__(self, snn: SpikingNetwork, num_steps: int) -> None:
        super().__init__()
        self.snn = snn
        self.num_steps = num_steps

    def forward(self, images: Tensor) -> Tensor:
        """Logits, ``[B, classes]``."""
        logits: Tensor = self.snn(images, num_steps=self.num_steps)
        return logits


def _teacher(config: TuneConfig, own: Checkpoint) -> Teacher | None:
    """What the network learns beside the labels: its ANN's answers, and others'."""
    if not config.distillation:
        return None
    others = teachers_from(
        config.teachers,
        learner=config.measure.network,
        classes=own.classes,
        data=own.config.data,
    )
    model = Committee([own.ann, *others]) if others else own.ann
    return Teacher(model, share=config.distillation)


def run_tuning(
    config: TuneConfig,
    output_dir: Path,
    *,
    resume: bool = False,
    accelerator: str = "auto",
    devices: int = 1,
    num_nodes: int = 1,
    progress: bool = True,
) -> Evaluation:
    """Fine-tune the converted network at one T.

    Args:
        config: Checkpoint, T and recipe.
        output_dir: Where ``snn.safetensors``, ``tuning.json``, ``tuning.svg``, checkpoints and
            logs go.
        resume: Go on where an interrupted run of the same settings stopped.
        accelerator: Lightning's name of the device.
        devices: Processes on this machine.
        num_nodes: Machines.
        progress: Show progress bars.

    Returns:
        The evaluation of the tuned network, beside the ANN it came from.

    Raises:
        ConfigError: The folder holds a run and ``resume`` is off, or one of other settings.
        CheckpointError, DataError, StateError: A file or the data cannot be used, or the training
            diverged.

    Example:
        >>> config = TuneConfig(measure=MeasureConfig(checkpoint="ann.safetensors"), num_steps=2)
        >>> run_tuning(config, Path("runs/tuned"))  # doctest: +SKIP
    """
    check_processes(devices, num_nodes)
    with run_folder(output_dir, config, resume=resume), joined() as place:
        shown = progress and is_main()
        opened = open_checkpoint(config.measure, place)
        learner = _learner(config, opened, output_dir)
        fit(
            learner,
            opened.train,
            config.train,
            teacher=_teacher(config, opened.checkpoint),
            output_dir=output_dir,
            resume=resume,
            classes=len(opened.checkpoint.classes),
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            progress=shown,
        )
        # Lightning may have started more processes than there were before.
        opened = replace(opened, place=place_here())
        device, seed = default_device(), config.train.seed
        measure_norms(learner.to(device), opened.train, device=device, seed=seed, progress=shown)
        learner.snn.fold_batchnorms()
        result = evaluate(
            learner.snn,
            opened.batches(config.measure.batch_size),
            num_steps=max(*config.measure.steps, config.num_steps),
            ann=opened.checkpoint.ann.to(device),
            distributed=opened.distributed,
            progress=progress and is_main(),
        )
        result = replace(result, shown=tuple(sorted({*config.measure.steps, config.num_steps})))
        if is_main():
            learner.snn.save(output_dir / "snn.safetensors")
        write_result(output_dir, "tuning", config, result)
    return result


def _learner(config: TuneConfig, opened: Opened, output_dir: Path) -> _AtSteps:
    """The converted network, its norms not folded, at the T that it is trained at."""
    spike_grad = _SHAPES[config.surrogate]()
    snn = convert(opened.checkpoint.ann, spike_grad=spike_grad, fold_batchnorms=False)
    # A run that goes on has learned from there already.
    if config.start is not None and not (output_dir / "last.ckpt").is_file():
        start_from_run(snn, config.start)
    return _AtSteps(snn, config.num_steps)
