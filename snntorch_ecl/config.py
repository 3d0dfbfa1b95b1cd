"""Experiments as data: frozen settings, read from YAML or JSON, written back as JSON."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from .checks import check_levels
from .data import DataConfig
from .errors import ConfigError
from .optional import require
from .train import TrainConfig

__all__ = [
    "ExperimentConfig",
    "from_dict",
    "load_config",
    "merged",
    "recipe",
    "recipe_names",
]

T = TypeVar("T")


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

    def to_dict(self) -> dict[str, Any]:
        """Plain data, from which :func:`from_dict` makes an equal config."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def from_dict(kind: type[T], values: Mapping[str, Any], *, where: str = "config") -> T:
    """Make a config from plain data.

    Args:
        kind: A config dataclass; fields that are configs take mappings.
        values: Settings by name; what is missing keeps its default.
        where: Name of the place, for errors.

    Returns:
        The validated config.

    Raises:
        ConfigError: An unknown name (the known ones are listed), or a value of another type.

    Example:
        >>> from_dict(ExperimentConfig, {"levels": 8, "train": {"epochs": 3}}).train.epochs
        3
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must be a mapping of settings; got {type(values).__name__}")
    hints = typing.get_type_hints(kind)
    known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = [str(name) for name in values if name not in known]
    if unknown:
        raise ConfigError(
            f"{where} has unknown settings: {', '.join(unknown)}; known are "
            f"{', '.join(sorted(known))}"
        )
    required = [
        f.name
        for f in dataclasses.fields(kind)  # type: ignore[arg-type]
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in values]
    if missing:
        raise ConfigError(f"{where} needs settings that are missing: {', '.join(missing)}")
    over = merged(_nested_defaults(kind), values)
    return kind(**{name: _value(hints[name], over[name], f"{where}.{name}") for name in values})


def _nested_defaults(kind: Any) -> dict[str, Any]:
    """Defaults of fields that are configs themselves: setting one of theirs keeps the others."""
    defaults = {
        f.name: f.default_factory()
        for f in dataclasses.fields(kind)
        if f.default_factory is not dataclasses.MISSING
    }
    return {name: asdict(d) for name, d in defaults.items() if dataclasses.is_dataclass(d)}  # type: ignore[arg-type]


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type[Any], hint), value, where=where)
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return value  # the config's own check lists what is allowed
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(value)
    allowed = options if origin in (types.UnionType, typing.Union) else (origin or hint,)
    if isinstance(value, bool) and bool not in allowed:
        raise ConfigError(f"{where} must be {_names(allowed)}; got {value!r}")
    if isinstance(value, int) and not isinstance(value, bool) and float in allowed:
        return float(value)
    if not isinstance(value, tuple(typing.cast(Any, allowed))):
        raise ConfigError(f"{where} must be {_names(allowed)}; got {value!r}")
    return value


def _names(kinds: tuple[Any, ...]) -> str:
    return " or ".join("null" if kind is types.NoneType else kind.__name__ for kind in kinds)


def load_config(kind: type[T], path: str | Path, over: Mapping[str, Any] | None = None) -> T:
    """Read a config from a YAML or JSON file, or from the JSON a run has written.

    Args:
        kind: The config's type.
        path: The file.
        over: Settings that win over the file's.

    Returns:
        The config.

    Raises:
        ConfigError: The file is missing, cannot be parsed, or holds a setting that is not allowed.
        MissingDependencyError: PyYAML is not installed.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"config {path} cannot be read: {error}") from error
    return from_dict(kind, merged(_parse(text, str(path)), over or {}), where=str(path))


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
    values = _parse(file.read_text(encoding="utf-8"), f"recipe {name}")
    return from_dict(ExperimentConfig, merged(values, over or {}), where=f"recipe {name}")


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        values = json.loads(text)  # YAML would read the -Infinity of a run's JSON as text
    except ValueError:
        yaml = require("yaml", extra="train")
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{where} is not valid YAML: {error}") from error
    if isinstance(values, dict) and isinstance(values.get("config"), dict):
        values = values["config"]  # the JSON of a run keeps its settings there
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must hold settings by name; got {type(values).__name__}")
    return values


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others laid over them, nested ones one by one.

    Example:
        >>> merged({"train": {"epochs": 30, "lr": 0.1}}, {"train": {"epochs": 3}})
        {'train': {'epochs': 3, 'lr': 0.1}}
    """
    result = dict(base)
    for name, value in over.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = merged(result[name], value) if nested else value
    return result
