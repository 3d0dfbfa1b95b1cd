"""Training clipped networks with Lightning (extra ``demo`` or ``train``)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from .._util.devices import device_of
from .._util.optional import require
from .._util.rng import own_random_numbers
from .._util.torch_internals import multiplies_bfloat16
from ..errors import DataError, EclError, InputError
from ..nn._threshold_clip import ThresholdClip
from ..settings._train import Precision, TrainConfig
from ._distillation import Teacher
from ._surroundings import errors_named, norms_kept, quiet_lightning


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Split a model's parameters into weights and thresholds, each with its own decay.

    Args:
        model: A prepared network.
        config: Gives both decays.

    Returns:
        Groups for a torch optimiser; biases and norms count as weights, as in the literature.
    """
    thresholds = [m.raw_threshold for m in model.modules() if isinstance(m, ThresholdClip)]
    known = {id(parameter) for parameter in thresholds}
    weights = [p for p in model.parameters() if id(p) not in known]
    return [
        {"params": weights, "weight_decay": config.weight_decay},
        {"params": thresholds, "weight_decay": config.threshold_decay},
    ]


def start_thresholds(model: nn.Module, images: Tensor) -> bool:
    """Set every threshold that is unset from one batch, as training would.

    Args:
        model: A prepared network; its batch norms see the batch once.
        images: ``[B, ...]``; the first batch of the training data.

    Returns:
        Whether there were any, so that the batch was run.
    """
    clips = [m for m in model.modules() if isinstance(m, ThresholdClip)]
    if all(clip.is_set for clip in clips):
        return False
    model.train()
    with torch.no_grad():
        model(images)
    return True


def fit(
    model: nn.Module,
    data: Dataset[tuple[Tensor, Any]],
    config: TrainConfig | None = None,
    *,
    validation: Dataset[tuple[Tensor, Any]] | None = None,
    teacher: Teacher | None = None,
    output_dir: Path | None = None,
    resume: bool = False,
    classes: int = 10,
    accelerator: str = "auto",
    devices: int = 1,
    num_nodes: int = 1,
    progress: bool = True,
) -> nn.Module:
    """Train a classifier in place with Lightning's Trainer.

    Args:
        model: The network, typically what ``prepare`` returned. Thresholds that are unset start
            from the first batch.
        data: Pairs of image and label.
        config: The recipe.
        validation: Pairs to measure accuracy on after each epoch.
        teacher: A trained network whose answers are learned beside the labels.
        output_dir: Folder of checkpoints (``last.ckpt``, ``best.ckpt``) and logs (CSV and, where
            it is installed, TensorBoard); none are written without it.
        resume: Go on from ``output_dir/last.ckpt`` if there is one. On the CPU a run that was
            interrupted ends with the same weights as one that was not.
        classes: Number of classes.
        accelerator: Lightning's name of the device; ``"auto"`` takes what is there.
        devices: Processes on this machine; more than one train together (DDP), each on its share
            of every batch. Batch norms see the whole batch on GPUs, their own share on CPUs.
        num_nodes: Machines.
        progress: Show a progress bar.

    Returns:
        The same model, trained, on the CPU and in eval mode.

    Raises:
        MissingDependencyError: Lightning is not installed.
        ConfigError: There is no such accelerator, or not as many devices.
        DataError: There is less data than one batch, or an image cannot be read.
        InputError: The network cannot be run on these images.
        CheckpointError: The checkpoint to go on from is damaged.
        StateError: The loss became NaN or infinite (names the step), or a checkpoint cannot be
            written.
    """
    config = config or TrainConfig()
    if len(data) < config.batch_size:  # type: ignore[arg-type]
        raise DataError(
            f"there are {len(data)} training images, fewer than "  # type: ignore[arg-type]
            f"batch_size={config.batch_size}"
        )
    require("lightning.pytorch", extra="train")
    from . import _lightning as parts

    # Numbers of its own from here on: the first batch may pass through dropout.
    with (
        quiet_lightning(),
        own_random_numbers(config.seed),
        norms_kept(model),
        errors_named(output_dir),
    ):
        trainer = parts.make_trainer(
            config,
            output_dir=output_dir,
            validate=validation is not None,
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            progress=progress,
        )
        _warn_if_slow(config.precision, trainer.strategy.root_device)
        loaders = parts.Data(data, validation, config)
        if config.channels_last:
            model.to(memory_format=torch.channels_last)
        _run_once(model, next(iter(loaders.train_dataloader()))[0])
        model.train()  # Lightning leaves modes alone, and converted networks come in eval mode
        last = None if output_dir is None else output_dir / "last.ckpt"
        checkpoint = last if resume and last is not None and last.is_file() else None
        learner = parts.Classifier(model, config, classes, teacher)
        trainer.fit(learner, loaders, ckpt_path=checkpoint)
    return model.cpu().eval()


def _warn_if_slow(precision: Precision, device: torch.device) -> None:
    """Say before a long run that it will be longer than it need be."""
    if precision == "bf16-mixed" and device.type == "cpu" and not multiplies_bfloat16():
        warnings.warn(
            "this processor has no bfloat16 of its own: precision='bf16-mixed' takes some ten "
            "times as long as '32-true' on it; set train.precision to that",
            stacklevel=3,
        )


def _run_once(model: nn.Module, images: Tensor) -> None:
    """Start the thresholds, and see that network and images fit before anything long begins."""
    try:
        images = images.to(device_of(model))
        if not start_thresholds(model, images):
            with torch.no_grad():
                model.eval()(images)
    except (EclError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(
            f"the network cannot be run on these images {list(images.shape[1:])}: {error}. Give a "
            "model for them, or name the data that it is for (data.name, --data-root, --recipe)"
        ) from error
