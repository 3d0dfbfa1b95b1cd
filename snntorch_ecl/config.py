"""Experiments as data: the settings of a training run, and the recipes that are shipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from .checks import check_levels, check_seed
from .data import DataConfig
from .errors import ConfigError
from .settings import from_dict, merged, parsed, plain
from .train import TrainConfig

__all__ = ["ExperimentConfig", "recipe", "recipe_names"]


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """One training run.

    Attributes:
        model: Name for :func:`snntorch_ecl.models.build`.
        levels: L of the activations; None clips without quantising.
        per_channel: One threshold a channel.
        relu: Train the plain ReLU network instead of a prepared one.
        weights: A ReLU network's checkpoint (``ann.safetensors``) to start from, or None.
        data: The images.
        train: The recipe.
        seed: Of the weights; the order of the data has ``train.seed``.
    """

    model: str = "digit_net"
    levels: int | None = 4
    per_channel: bool = False
    relu: bool = False
    weights: str | None = None
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        check_levels(self.levels)
        check_seed("seed", self.seed)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, from which :func:`snntorch_ecl.settings.from_dict` makes an equal config."""
        return plain(self)


def recipe_names() -> tuple[str, ...]:
    """The recipes that the package ships."""
    folder = resources.files(__package__).joinpath("recipes")
    return tuple(
        sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    )


def recipe(name: str, over: Mapping[str, Any] | None = None) -> ExperimentConfig:
    """A recipe that the package ships.

    Args:
        name: One of :func:`recipe_names`.
        over: Settings that win over the recipe's.

    Returns:
        Its config.

    Raises:
        ConfigError: There is no such recipe; lists those there are.
        MissingDependencyError: PyYAML is not installed.
    """
    if name not in recipe_names():
        known = ", ".join(recipe_names())
        raise ConfigError(f"there is no recipe {name!r}; the package has {known}")
    file = resources.files(__package__).joinpath(f"recipes/{name}.yaml")
    values = parsed(file.read_text(encoding="utf-8"), f"recipe {name}")
    return from_dict(ExperimentConfig, merged(values, over or {}), where=f"recipe {name}")
