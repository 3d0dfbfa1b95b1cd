"""What is written beside a figure, so that it can be repeated: versions, machine, settings."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import snntorch
import torch

from ._version import __version__
from .errors import ConfigError, DataError
from .files import replacing
from .processes import is_main

__all__ = ["continued", "settings_of_this_run", "write_json"]


def settings_of_this_run() -> dict[str, Any]:
    """Versions and machine, to be written beside any figure."""
    return {
        "versions": {
            "snntorch-ecl": __version__,
            "snntorch": snntorch.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write plain data, all or nothing.

    Raises:
        DataError: The file cannot be written; one that stood there is unharmed.
    """
    try:
        with replacing(path) as part:
            part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}") from error
    return path


def continued(output_dir: Path, config: Any, *, resume: bool) -> None:
    """Make a run's folder with its ``config.json``, or make sure that it is the same run's.

    Args:
        output_dir: The folder.
        config: The run's settings, a dataclass.
        resume: Whether a run that is there may be gone on with.

    Raises:
        ConfigError: The folder holds a run and ``resume`` is off, or one of other settings, which
            it names.
        DataError: The folder cannot be written to.
    """
    if not is_main():
        return
    file = output_dir / "config.json"
    now = json.loads(json.dumps(asdict(config)))
    begun = any(output_dir.glob("*.ckpt")) or any(output_dir.glob("*.safetensors"))
    if file.is_file() and begun:
        if not resume:
            raise ConfigError(
                f"{output_dir} already holds a run; go on with it (--resume), or choose another "
                "folder"
            )
        _check_same(_flat(_settings_in(file)), _flat(now), file)
    write_json(file, {"config": now})


def _settings_in(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} does not tell the run's settings: {error!r}") from error


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any], file: Path) -> None:
    differing = [
        f"{name} was {before.get(name)!r}, now {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if differing:
        raise ConfigError(
            f"the run in {file.parent} had other settings: {'; '.join(differing)}. Resume it with "
            f"the settings it had (--config {file}), or choose another folder"
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat
