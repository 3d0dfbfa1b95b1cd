"""``fit``: train a classifier with Lightning (extra ``demo`` or ``train``)."""

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
from ..settings import Precision, TrainConfig
from ._distillation import Teacher
from ._guards import named_errors, own_norms_kept, quiet_lightning
from ._thresholds import start_thresholds


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
        config: The recipe. With a ``level_penalty`` the clips have other levels in the end.
        validation: Pairs to measure accuracy on after each epoch.
        teacher: A trained network to learn from, besides the labels.
        output_dir: Folder of checkpoints (``last.ckpt``, ``best.ckpt``) and logs (CSV and, where
            it is installed, TensorBoard); none are written without it.
        resume: Continue from ``output_dir/last.ckpt`` if there is one. On the CPU an interrupted
            run ends with the same weights as an uninterrupted one. Ctrl-C and SIGTERM leave a
            checkpoint of the last step and then end the run; a run that is killed, or one of
            several processes, continues from the last whole epoch.
        classes: Number of classes.
        accelerator: Lightning's name of the device; ``"auto"`` takes a GPU or another
            accelerator if there is one.
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
        CheckpointError: The checkpoint to continue from is damaged.
        StateError: The loss became NaN or infinite (names the step), or a checkpoint cannot be
            written.

    Example:
        >>> import snntorch_ecl as ecl
        >>> from torch.utils.data import TensorDataset
        >>> data = TensorDataset(torch.rand(32, 8), torch.randint(0, 2, (32,)))
        >>> ann = ecl.prepare(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)))
        >>> recipe = TrainConfig(epochs=1, batch_size=16)
        >>> trained = fit(ann, data, recipe, classes=2, accelerator="cpu", progress=False)
        >>> ecl.convert(trained)(torch.rand(3, 8), num_steps=2).shape
        torch.Size([3, 2])
    """
    config = config or TrainConfig()
    if len(data) < config.batch_size:  # type: ignore[arg-type]
        raise DataError(
            f"there are {len(data)} training images, fewer than "  # type: ignore[arg-type]
            f"batch_size={config.batch_size}"
        )
    require("lightning.pytorch", extra="train")
    from . import _lightning as parts  # the one module that needs Lightning as it is imported

    # Numbers of its own from here on: the first batch may pass through dropout.
    with (
        quiet_lightning(),
        own_random_numbers(config.seed),
        own_norms_kept(model),
        named_errors(output_dir),
    ):
        last = None if output_dir is None else output_dir / "last.ckpt"
        stop = parts.StopOnSignal(last)
        trainer = parts.make_trainer(
            config,
            output_dir=output_dir,
            validate=validation is not None,
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            progress=progress,
            stop=stop,
        )
        _warn_if_slow(config.precision, trainer.strategy.root_device)
        loaders = parts.Data(data, validation, config)
        if config.channels_last:
            model.to(memory_format=torch.channels_last)
        _run_once(model, next(iter(loaders.train_dataloader()))[0])
        model.train()  # Lightning leaves modes alone, and converted networks come in eval mode
        checkpoint = last if resume and last is not None and last.is_file() else None
        learner = parts.Classifier(model, config, classes, teacher)
        try:
            with stop.watching():
                trainer.fit(learner, loaders, ckpt_path=checkpoint)
        finally:
            if learner.levels is not None:
                learner.levels.finish()
    return model.cpu().eval()


def _warn_if_slow(precision: Precision, device: torch.device) -> None:
    """Say before a long run that it will be longer than it need be."""
    if precision == "bf16-mixed" and device.type == "cpu" and not multiplies_bfloat16():
        warnings.warn(
            "this processor has no bfloat16: precision='bf16-mixed' takes about ten times as long "
            "as '32-true'; set train.precision to '32-true'",
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
            f"the network cannot be run on these images {list(images.shape[1:])}: {error}. Choose "
            "a model for such images, or the data that this model is for (data.name, --data-root, "
            "--recipe)"
        ) from error
