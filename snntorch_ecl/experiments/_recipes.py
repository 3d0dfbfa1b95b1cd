"""The experiments whose settings the package ships."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from ..errors import ConfigError
from ..settings import ExperimentConfig, from_dict
from ..settings._reader import merged
from ..settings._text import parsed


def recipe_names() -> tuple[str, ...]:
    """The recipes that the package ships.

    Returns:
        Their names, sorted.

    Example:
        >>> "digits" in recipe_names()
        True
    """
    folder = resources.files(__package__).joinpath("recipes")
    return tuple(
        sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    )


def recipe(name: str, over: Mapping[str, Any] | None = None) -> ExperimentConfig:
    """A recipe that the package ships.

    Args:
        name: One of :func:`recipe_names`.
        over: Settings that override the recipe's.

    Returns:
        Its config.

    Raises:
        ConfigError: There is no such recipe; the message lists all names.
        MissingDependencyError: PyYAML is not installed.

    Example:
        >>> recipe("digits", {"train": {"epochs": 1}}).train.epochs
        1
    """
    if name not in recipe_names():
        known = ", ".join(recipe_names())
        raise ConfigError(f"there is no recipe {name!r}; the package has {known}")
    file = resources.files(__package__).joinpath(f"recipes/{name}.yaml")
    values = parsed(file.read_text(encoding="utf-8"), f"recipe {name}")
    return from_dict(ExperimentConfig, merged(values, over or {}), where=f"recipe {name}")
