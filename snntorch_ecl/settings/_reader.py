"""Frozen dataclasses made from plain data or a file, and turned back into plain data.

Written by hand and not with dacite: that names neither the place of an unknown setting nor the
element of a tuple that is wrong, takes text for a tuple, and would be needed to load a network.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ConfigError
from ._text import parsed, read_text

T = TypeVar("T")


def plain(config: Any) -> dict[str, Any]:
    """A config dataclass as plain data, from which :func:`from_dict` makes an equal one."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return values


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
        >>> from snntorch_ecl.settings import ExperimentConfig
        >>> from_dict(ExperimentConfig, {"levels": 8, "train": {"epochs": 3}}).train.epochs
        3
    """
    _check_names(kind, values, where)
    hints = typing.get_type_hints(kind)
    over = merged(_nested_defaults(kind), values)
    return kind(**{name: _value(hints[name], over[name], f"{where}.{name}") for name in values})


def _check_names(kind: Any, values: Any, where: str) -> None:
    """Refuse what is no mapping, holds an unknown setting, or lacks one that has no default."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must be a mapping of settings; got {type(values).__name__}")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = [str(name) for name in values if name not in fields]
    if unknown:
        raise ConfigError(
            f"{where} has unknown settings: {', '.join(unknown):.200}; known are "
            f"{', '.join(sorted(fields))}"
        )
    no_default = dataclasses.MISSING
    missing = [
        name
        for name, field in fields.items()
        if name not in values and field.default is field.default_factory is no_default
    ]
    if missing:
        raise ConfigError(f"{where} needs settings that are missing: {', '.join(missing)}")


def _nested_defaults(kind: Any) -> dict[str, Any]:
    """Defaults of fields that are configs themselves: setting one of theirs keeps the others."""
    defaults = {
        f.name: f.default_factory()
        for f in dataclasses.fields(kind)
        if f.default_factory is not dataclasses.MISSING
    }
    return {name: asdict(d) for name, d in defaults.items() if dataclasses.is_dataclass(d)}  # type: ignore[arg-type]


def _value(hint: Any, value: Any, where: str) -> Any:
    """One setting's value, checked against the type that its config states."""
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type[Any], hint), value, where=where)
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return value  # the config's own check lists what is allowed
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_value(options[0], each, f"{where}[{i}]") for i, each in enumerate(value))
    kinds = options if origin in (types.UnionType, typing.Union) else (hint,)
    allowed = tuple(typing.get_origin(kind) or kind for kind in kinds)
    if isinstance(value, bool) and bool not in allowed:
        raise ConfigError(f"{where} must be {_names(allowed)}; got {_short(value)}")
    if isinstance(value, int) and not isinstance(value, bool) and float in allowed:
        return float(value)
    if not isinstance(value, tuple(typing.cast(Any, allowed))):
        raise ConfigError(f"{where} must be {_names(allowed)}; got {_short(value)}")
    return value


def _short(value: Any) -> str:
    """A value as it is written, cut if it is long."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]} …"


def _names(kinds: tuple[Any, ...]) -> str:
    """Types as a user of YAML or JSON calls them."""
    spelled = {types.NoneType: "null", Mapping: "mapping"}
    return " or ".join(spelled.get(kind, kind.__name__) for kind in kinds)


def load_config(kind: type[T], path: str | Path, over: Mapping[str, Any] | None = None) -> T:
    """Read a config from a YAML or JSON file, or from the JSON a run has written.

    Args:
        kind: The config's type.
        path: The file.
        over: Settings that override the file's.

    Returns:
        The config.

    Raises:
        ConfigError: The file is missing, cannot be parsed, or holds a setting that is not allowed.
        MissingDependencyError: PyYAML is not installed.

    Example:
        >>> import tempfile
        >>> from snntorch_ecl.settings import TrainConfig
        >>> file = Path(tempfile.mkdtemp()) / "recipe.json"
        >>> _ = file.write_text('{"epochs": 3, "lr": 0.05}')
        >>> recipe = load_config(TrainConfig, file, {"lr": 0.2})
        >>> recipe.epochs, recipe.lr
        (3, 0.2)
    """
    path = Path(path)
    values = merged(parsed(read_text(path), str(path)), over or {})
    try:
        return from_dict(kind, values, where=str(path))
    except ConfigError as error:
        if str(path) in str(error):
            raise
        beside = " with the options given" if over else ""
        raise ConfigError(f"{path}{beside}: {error}") from error


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
