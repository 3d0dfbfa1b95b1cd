"""Fine-tuning of the converted network itself, through both thresholds, as a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import snntorch.surrogate
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .._util.checks import check_whole_numbers
from .._util.devices import default_device
from .._util.processes import is_main, joined, share
from ..conversion._convert import convert
from ..errors import CheckpointError, ConfigError
from ..functional._neuron import SurrogateGradient
from ..measurement import Evaluation, evaluate
from ..models._checkpoint import Checkpoint, load_ann
from ..network._network import SpikingNetwork
from ..settings._train import TrainConfig
from ..surrogate import rectangular, triangular
from ..training._distillation import Committee, Teacher, check_share
from ..training._fit import fit
from ..training._norms import measure_norms
from ._measure import MeasureConfig, leave, open_checkpoint
from ._records import continued
from ._tuned import start_from_run

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
        teachers: Checkpoints of more networks for the same classes and images; what is learned
            then is the mean of their logits and the ANN's.
        start: Folder of another fine-tuning of the same checkpoint, say at a larger T, to start
            from; by default the ANN's weights.
        train: The recipe; a few epochs at a small learning rate.
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
        if self.teachers and not self.distillation:
            raise ConfigError(
                "teachers have no effect with distillation=0; give it, or no teachers"
            )


class _AtSteps(nn.Module):
    """A spiking network at a fixed T, as one function of its images."""

    def __init__(self, snn: SpikingNetwork, num_steps: int) -> None:
        super().__init__()
        self.snn = snn
        self.num_steps = num_steps

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.snn(images, num_steps=self.num_steps)
        return logits


def _teacher(config: TuneConfig, own: Checkpoint) -> Teacher | None:
    """What the network learns beside the labels: its ANN's answers, and others'."""
    if not config.distillation:
        return None
    others = [load_ann(path) for path in config.teachers]
    for path, other in zip(config.teachers, others, strict=True):
        for name, ours in _seen(own).items():
            if (theirs := _seen(other)[name]) != ours:
                raise CheckpointError(
                    f"the teacher {path} was trained with {name} {theirs}, "
                    f"{config.measure.checkpoint} with {ours}; both have to see the same"
                )
    model = Committee([own.ann, *(other.ann for other in others)]) if others else own.ann
    return Teacher(model, share=config.distillation)


def _seen(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a network answers to: its classes, and images as its training gave them."""
    data = checkpoint.config.data
    return {
        "classes": checkpoint.classes,
        "data.image_size": data.image_size,
        "data.mean": data.mean,
        "data.std": data.std,
    }


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
        CheckpointError, DataError, StateError: As for the steps it takes.
    """
    continued(output_dir, config, resume=resume)
    with joined() as place:
        opened = open_checkpoint(config.measure, place)
        ann = opened.checkpoint.ann
        snn = convert(ann, spike_grad=_SHAPES[config.surrogate](), fold_batchnorms=False)
        # A run that goes on has learned from there already.
        if config.start is not None and not (output_dir / "last.ckpt").is_file():
            start_from_run(snn, config.start)
        teacher = _teacher(config, opened.checkpoint)
        learner = _AtSteps(snn, config.num_steps)
        fit(
            learner,
            opened.train,
            config.train,
            teacher=teacher,
            output_dir=output_dir,
            resume=resume,
            classes=len(opened.checkpoint.classes),
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            progress=progress and place.rank == 0,
        )
        device = default_device()
        measure_norms(
            learner.to(device),
            opened.train,
            device=device,
            seed=config.train.seed,
            progress=progress and place.rank == 0,
        )
        snn.fold_batchnorms()
        result = evaluate(
            snn,
            DataLoader(share(opened.test, place), config.measure.batch_size),
            num_steps=max(config.measure.steps),
            ann=ann.to(device),
            distributed=place.world_size > 1,
            progress=progress and place.rank == 0,
        )
    if is_main():
        snn.save(output_dir / "snn.safetensors")
    leave(output_dir, "tuning", config, result)
    return result
