"""Training clipped networks with Lightning (extra ``demo`` or ``train``)."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from .activation import ThresholdClip
from .errors import ConfigError, StateError
from .optional import require

__all__ = ["TrainConfig", "fit", "parameter_groups"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train: SGD with momentum and a cosine schedule, the recipe of the literature.

    Attributes:
        epochs: Passes over the data.
        batch_size: Images per step.
        lr: Learning rate at the start, decayed to 0 along a cosine.
        momentum: Of SGD.
        weight_decay: Of the weights.
        threshold_decay: Of the clips' thresholds.
        label_smoothing: Share of each label spread over all classes.
        seed: Of the order of the data.
    """

    epochs: int = 30
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    threshold_decay: float = 5e-4
    label_smoothing: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be an integer >= 1; got {value!r}")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise ConfigError(f"lr must be finite and > 0; got {self.lr!r}")
        for name in ("momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie in [0, 1); got {getattr(self, name)!r}")
        for name in ("weight_decay", "threshold_decay"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be >= 0; got {getattr(self, name)!r}")


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


def fit(
    model: nn.Module,
    data: Dataset[tuple[Tensor, ...]],
    config: TrainConfig | None = None,
    *,
    accelerator: str = "auto",
    progress: bool = True,
) -> nn.Module:
    """Train a classifier in place with Lightning's Trainer.

    Args:
        model: The network, typically what ``prepare`` returned. Thresholds that are unset start
            from the first batch.
        data: Pairs of image and label.
        config: The recipe.
        accelerator: Lightning's name of the device; ``"auto"`` takes what is there.
        progress: Show a progress bar.

    Returns:
        The same model, trained, on the CPU and in eval mode.

    Raises:
        MissingDependencyError: Lightning is not installed.
        StateError: The loss became NaN or infinite; names the step.
    """
    config = config or TrainConfig()
    lightning = require("lightning.pytorch", extra="train")
    generator = torch.Generator().manual_seed(config.seed)
    loader = DataLoader(data, config.batch_size, shuffle=True, generator=generator, drop_last=True)
    with _quiet():
        callbacks = require("lightning.pytorch.callbacks", extra="train")
        trainer = lightning.Trainer(
            max_epochs=config.epochs,
            accelerator=accelerator,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=progress,
            callbacks=[callbacks.RichProgressBar()] if progress else [],
        )
        trainer.fit(_classifier(model, config), loader)
    return model.cpu().eval()


def _classifier(model: nn.Module, config: TrainConfig) -> Any:
    """The LightningModule, made where Lightning is known to be there."""
    lightning = require("lightning.pytorch", extra="train")

    class Classifier(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.loss = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)

        def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            images, labels = batch
            loss: Tensor = self.loss(self.model(images), labels)
            if not bool(loss.isfinite()):
                raise StateError(
                    f"the loss became {loss.item()} at step {self.trainer.global_step} (epoch "
                    f"{self.trainer.current_epoch}); lower the learning rate (lr={config.lr:g})"
                )
            self.log("loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> dict[str, Any]:
            groups = parameter_groups(self.model, config)
            optimizer = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
            steps = self.trainer.estimated_stepping_batches
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(steps))
            step = {"scheduler": schedule, "interval": "step"}
            return {"optimizer": optimizer, "lr_scheduler": step}

    return Classifier()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's notes on hardware and workers, which say nothing about the training."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
