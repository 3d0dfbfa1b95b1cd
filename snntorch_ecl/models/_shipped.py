"""The files of the networks that the package ships."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path

from ..errors import ConfigError

_SUFFIX = ".safetensors"
# Folders beside this module.
ANNS = "pretrained"
SNNS = "pretrained/spiking"


def shipped_names(folder: str) -> tuple[str, ...]:
    """Names of the networks in one of the folders, sorted."""
    names = (entry.name for entry in resources.files(__package__).joinpath(folder).iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def shipped_file(folder: str, name: str) -> AbstractContextManager[Path]:
    """The file of a network, for a ``with`` block: the package may lie in an archive."""
    names = shipped_names(folder)
    if name not in names:
        raise ConfigError(
            f"there is no pretrained network {name!r}; the package ships {', '.join(names)}"
        )
    return resources.as_file(resources.files(__package__).joinpath(folder, f"{name}{_SUFFIX}"))
