"""The settings of a whole training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .._util.checks import check_seed, check_share
from .._util.levels import Levels, check_levels_by_name
from ..errors import ConfigError
from ._data import DataConfig
from ._reader import plain
from ._train import TrainConfig


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """One training run.

    Attributes:
        model: Name for :func:`snntorch_ecl.models.build`.
        levels: Levels L of the activations; None clips without quantising. Or a mapping of layers,
            or patterns of their names, to their L, as for :func:`~snntorch_ecl.prepare`.
        per_channel: One threshold for each channel, instead of one for each layer.
        signed: Also give clips, signed where needed, to all that linear maps and matrix products
            read, as transformers need.
        relu: Train the plain ReLU network instead of a prepared one.
        weights: A checkpoint (``ann.safetensors``) to start from, or the name of a network that
            ships, or None: a ReLU network, or a clipped one, also one of other levels.
        teacher: A trained network, as for ``weights``, whose answers are learned besides the
            labels; None learns from the labels alone.
        distillation: Weight of the teacher's answers in the loss, within [0, 1]; None is 0.7.
        data: The images.
        train: The recipe.
        seed: Seed of the weights; the order of the data has ``train.seed``.

    Raises:
        ConfigError: A setting is outside its range, or distillation is given without a teacher.

    Example:
        >>> ExperimentConfig(levels=8, train=TrainConfig(epochs=3)).to_dict()["train"]["epochs"]
        3
    """

    model: str = "digit_net"
    levels: Levels = 4
    per_channel: bool = False
    signed: bool = False
    relu: bool = False
    weights: str | None = None
    teacher: str | None = None
    distillation: float | None = None
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        check_levels_by_name(self.levels)
        check_seed("seed", self.seed)
        if self.distillation is not None:
            check_share(self.distillation)
            if self.teacher is None:
                raise ConfigError("distillation has no effect without a teacher: name one")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, from which :func:`snntorch_ecl.settings.from_dict` makes an equal config."""
        return plain(self)
