"""Levels L: one number for all layers, or several by the layers' names and patterns of these."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from ..errors import ConfigError
from .checks import check_levels

REST = "*"
"""The key of a mapping whose levels all those layers get that no other key names."""

Levels = int | None | Mapping[str, int | None]
"""L of all layers, or by name and pattern."""


def check_levels_by_name(levels: Any) -> None:
    """Raise :class:`ConfigError` unless each L is None or an integer ≥ 1, by name or for all."""
    if not isinstance(levels, Mapping):
        check_levels(levels)
        return
    if not levels:
        raise ConfigError(
            "levels is an empty mapping: name layers ({'stage1.*': 8, '*': 4}), or give one number"
        )
    for name, value in levels.items():
        if not isinstance(name, str) or not name:
            raise ConfigError(f"levels takes names or patterns of layers as keys; got {name!r}")
        try:
            check_levels(value)
        except ConfigError as error:
            raise ConfigError(f"levels[{name!r}]: {error}") from error


def levels_by_name(
    levels: Mapping[str, int | None], names: Collection[str], default: Mapping[str, int | None]
) -> dict[str, int | None]:
    """L of each layer: by its name, else by the pattern that it matches, else by ``*``.

    Those that nothing names have that of ``default``. :class:`ConfigError` if a key matches no
    layer, or if patterns disagree.
    """
    unknown = [key for key in levels if not any(fnmatchcase(name, key) for name in names)]
    if unknown:
        raise ConfigError("; ".join(_unknown(key, names) for key in unknown[:3]))
    rest = {name: levels.get(REST, default[name]) for name in names}
    return {name: _found(name, levels, rest[name]) for name in names}


def _found(name: str, levels: Mapping[str, int | None], rest: int | None) -> int | None:
    """What a layer's name, or a pattern that is not for all, gives it."""
    if name in levels:
        return levels[name]
    matching = {key: L for key, L in levels.items() if key != REST and fnmatchcase(name, key)}
    if len(set(matching.values())) > 1:
        told = " and ".join(f"{key!r} ({value})" for key, value in matching.items())
        raise ConfigError(
            f"levels of {name}: {told} match it and disagree. Name the layer itself, or narrow the "
            "patterns"
        )
    return next(iter(matching.values()), rest)


def _unknown(key: str, names: Collection[str]) -> str:
    """That no layer has this name, and which ones are near."""
    near = difflib.get_close_matches(key, names, cutoff=0.4) or list(names)[:3]
    return (
        f"levels names {key!r}, but none of the {len(names)} layers with a ThresholdClip matches "
        f"that; near: {', '.join(near)}"
    )
