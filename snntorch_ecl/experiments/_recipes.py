"""TODO"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from ..errors import ConfigError
from ..settings._experiment import ExperimentConfig
from ..settings._reader import from_dict, merged, parsed


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
