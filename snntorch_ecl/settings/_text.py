"""The text of a settings file, YAML or JSON, as plain data."""

from __future__ import annotations

import json
from typing import Any

from .._util.optional import require
from ..errors import ConfigError


def parsed(text: str, where: str) -> dict[str, Any]:
    """Settings from YAML, JSON or the JSON that a run has written; ``where`` is named in errors."""
    try:
        # YAML would read the -Infinity of a run's JSON as text.
        values = json.loads(text, object_pairs_hook=lambda pairs: _once_each(pairs, where))
    except ConfigError:
        raise
    except ValueError:
        yaml = require("yaml", extra="train")
        try:
            _refuse_duplicates(yaml.compose(text, yaml.SafeLoader), where)
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


def _refuse_duplicates(node: Any, where: str) -> None:
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
        _refuse_duplicates(child[1] if isinstance(child, tuple) else child, where)
