"""Settings as plain data: frozen dataclasses read from YAML or JSON, and back."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from .._util.optional import require
from ..errors import ConfigError

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
        return tuple(_value(options[0], each, f"{where}[{i}]") for i, each in enumerate(value))
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
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path} cannot be read as text: {error}") from error
    return from_dict(kind, merged(parsed(text, str(path)), over or {}), where=str(path))


def parsed(text: str, where: str) -> dict[str, Any]:
    """Settings from the text of a YAML or JSON file.

    Args:
        text: YAML, JSON, or the JSON that a run has written.
        where: Name of the file, for errors.

    Raises:
        ConfigError: It cannot be parsed, is no mapping, or names a setting twice.
        MissingDependencyError: PyYAML is not installed.
    """
    try:
        # YAML would read the -Infinity of a run's JSON as text.
        values = json.loads(text, object_pairs_hook=lambda pairs: _once_each(pairs, where))
    except ConfigError:
        raise
    except ValueError:
        yaml = require("yaml", extra="train")
        try:
            _check_names(yaml.compose(text, yaml.SafeLoader), where)
            values = yaml.safe_load(text)
        except ConfigError:
            raise
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # no such date; too deep
            raise ConfigError(f"{where} is not valid YAML: {error}") from error
    if isinstance(values, dict) and isinstance(values.get("config"), dict):
        values = values["config"]  # the JSON of a run keeps its settings there
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must hold settings by name; got {type(values).__name__}")
    return values


def _once_each(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    """An object of a JSON file, which names each setting once."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ConfigError(f"{where} has {name!r} twice")
        values[name] = value
    return values


def _check_names(node: Any, where: str) -> None:
    """Refuse a setting that stands twice in one place: YAML's readers take the last, silently."""
    children = getattr(node, "value", None)
    if not isinstance(children, list):
        return  # empty, or a single value
    seen: set[Any] = set()
    for name, _ in (child for child in children if isinstance(child, tuple)):
        if not isinstance(name.value, str):
            continue  # no name: the reader will say so
        if name.value in seen:
            line = name.start_mark.line + 1
            raise ConfigError(f"{where} has {name.value!r} twice, the second in line {line}")
        seen.add(name.value)
    for child in children:
        _check_names(child[1] if isinstance(child, tuple) else child, where)


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
