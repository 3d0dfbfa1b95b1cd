"""The text of a settings file, YAML or JSON, as plain data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .._util.optional import require
from ..errors import ConfigError

# Far more than settings need: the JSON of a run with its figures; a recipe.
_MOST_BYTES = 50_000_000
_MOST_YAML = 20_000
_MOST_BRACKETS = 300  # the time that the parser takes grows with their square
_MOST_VALUES = 50_000


def parsed(text: str, where: str) -> dict[str, Any]:
    """Settings from YAML, JSON or the JSON that a run has written; ``where`` is named in errors."""
    try:
        # YAML would read the -Infinity of a run's JSON as text.
        values = json.loads(text, object_pairs_hook=lambda pairs: _once_each(pairs, where))
    except ConfigError:
        raise
    except RecursionError as error:
        raise ConfigError(f"{where} is nested too deeply") from error
    except ValueError:
        values = _from_yaml(text, where)
    if isinstance(values, dict) and isinstance(values.get("config"), dict):
        values = values["config"]  # the JSON of a run keeps its settings there
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must hold settings by name; got {type(values).__name__}")
    return values


def read_text(path: Path) -> str:
    """The text of a settings file; one that cannot be settings is not read."""
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"config {path} is not a file")
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(
                f"config {path} has {path.stat().st_size:,} bytes, which is too much for settings"
            )
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"config {path} cannot be read as text: {error}") from error


def _from_yaml(text: str, where: str) -> Any:
    """The values of a YAML text, each setting named once."""
    yaml = require("yaml", extra="train")
    if len(text) > _MOST_YAML:
        raise ConfigError(f"{where} has {len(text):,} characters, which is too much for settings")
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        raise ConfigError(f"{where} has more than {_MOST_BRACKETS} brackets, too much for settings")
    try:
        _check_nodes(yaml.compose(text, yaml.SafeLoader), where, {})
        return yaml.safe_load(text)
    except ConfigError:
        raise
    # No such date; nested too deeply; a name that is a list.
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise ConfigError(f"{where} is not valid YAML: {error}") from error


def _once_each(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    """An object of a JSON file, which names each setting once."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ConfigError(f"{where} has {name!r} twice")
        values[name] = value
    return values


def _check_nodes(node: Any, where: str, sizes: dict[int, int]) -> int:
    """How many values a node holds, once all aliases are followed; too many are refused.

    Refused as well is a setting that stands twice in one place: YAML takes the last, silently.
    ``sizes`` has those of the nodes that were visited, so that an alias is followed once.
    """
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise ConfigError(f"{where} has an alias (*) for a value that contains it")
        return sizes[id(node)]
    children = getattr(node, "value", None)
    if not isinstance(children, list):
        return 1  # empty, or a single value
    sizes[id(node)] = 0
    _refuse_duplicates(children, where)
    pairs = (child if isinstance(child, tuple) else (child,) for child in children)
    size = 1 + sum(_check_nodes(part, where, sizes) for pair in pairs for part in pair)
    if size > _MOST_VALUES:
        raise ConfigError(f"{where} holds more than {_MOST_VALUES:,} values by its aliases (*)")
    sizes[id(node)] = size
    return size


def _refuse_duplicates(children: list[Any], where: str) -> None:
    """Refuse a name that stands twice in one mapping."""
    seen: set[str] = set()
    for name, _ in (child for child in children if isinstance(child, tuple)):
        if not isinstance(name.value, str):
            continue  # no name: the reader will say so
        if name.value in seen:
            line = name.start_mark.line + 1
            raise ConfigError(f"{where} has {name.value!r} twice, the second in line {line}")
        seen.add(name.value)
