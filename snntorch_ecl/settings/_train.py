"""The recipe of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from .._util.checks import check_seed, check_whole_numbers
from ..errors import ConfigError

Optimizer = Literal["sgd", "adamw"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train: by default SGD with momentum and a cosine schedule, as in the literature.

    Attributes:
        epochs: Passes over the data.
        batch_size: Images per step.
        optimizer: ``sgd``, or ``adamw``, with which transformers train.
        lr: Learning rate at the start, decayed to 0 along a cosine.
        momentum: Momentum of SGD; the first β of AdamW.
        weight_decay: Decay of weights, biases and norms.
        threshold_decay: Decay of the clips' thresholds.
        level_penalty: Above 0, levels are learned layer by layer, between 1 and those of the
            network: this, times neurons × L as a share of that at the start, is added to the loss.
            In the last third of the epochs levels are whole and fixed.
        label_smoothing: Share of each label spread over all classes.
        gradient_clip: Largest norm of the gradient; 0 for no bound.
        precision: Lightning's name: ``32-true``, ``bf16-mixed`` or ``16-mixed``. On a
            processor without bfloat16 it takes about ten times as long, and a warning says so.
        channels_last: Memory layout of images and convolutions.
        compile: Let ``torch.compile`` fuse the network's operations: on a CPU a step takes about
            half the time, after a minute's compilation. Needs a C++ compiler there.
        workers: Processes that load data; 0 loads in the training process.
        seed: Seed of the order and of the random changes of the data.

    Raises:
        ConfigError: A setting is outside its range.

    Example:
        >>> TrainConfig(epochs=3, lr=0.05).batch_size
        128
    """

    epochs: int = 30
    batch_size: int = 128
    optimizer: Optimizer = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    threshold_decay: float = 5e-4
    level_penalty: float = 0.0
    label_smoothing: float = 0.0
    gradient_clip: float = 0.0
    precision: Precision = "32-true"
    channels_last: bool = False
    compile: bool = False
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, lowest in (("epochs", 1), ("batch_size", 1), ("workers", 0)):
            check_whole_numbers(name, (getattr(self, name),), lowest=lowest)
        check_seed("seed", self.seed)
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise ConfigError(f"lr must be finite and > 0; got {self.lr!r}")
        for name in ("momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie in [0, 1); got {getattr(self, name)!r}")
        for name in ("weight_decay", "threshold_decay", "level_penalty", "gradient_clip"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be >= 0; got {getattr(self, name)!r}")
        if self.level_penalty and self.compile:
            raise ConfigError("level_penalty reads levels at each step: set compile to false")
        if self.optimizer not in get_args(Optimizer):
            options = ", ".join(get_args(Optimizer))
            raise ConfigError(f"optimizer must be one of {options}; got {self.optimizer!r}")
        if self.precision not in get_args(Precision):
            options = ", ".join(get_args(Precision))
            raise ConfigError(f"precision must be one of {options}; got {self.precision!r}")
