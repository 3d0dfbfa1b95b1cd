"""What is written beside a figure, so that it can be repeated: versions, machine, settings."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import snntorch
import torch

from .._util.files import replacing
from .._util.processes import is_main
from .._version import __version__
from ..errors import ConfigError, DataError
from ..settings._reader import plain


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
    """Make a training's folder with its ``config.json``, or make sure that it is the same run's.

    Args:
        output_dir: The folder.
        config: The run's settings, a dataclass.
        resume: Whether a run that is there may be gone on with.

    Raises:
        ConfigError: The folder holds trained files and ``resume`` is off, or they are of other
            settings, which it names, or what is needed to go on is missing.
        DataError: The folder cannot be written to.
    """
    if not is_main():
        return
    file = output_dir / "config.json"
    trained = sorted([*output_dir.glob("*.ckpt"), *output_dir.glob("*.safetensors")])
    if trained:
        if not resume:
            raise ConfigError(
                f"{output_dir} already holds {trained[0].name}; go on with its run (--resume), or "
                "choose another folder"
            )
        for needed in (file, output_dir / "last.ckpt"):
            if not needed.is_file():
                raise ConfigError(
                    f"{output_dir} holds {trained[0].name}, but no {needed.name} from which its "
                    "run could go on; put it back (best.ckpt will do for last.ckpt), or choose "
                    "another folder"
                )
        check_same(_settings_in(file), config, file)
    write_json(file, {"config": plain(config)})


def usable(output_dir: Path) -> None:
    """Make a folder and write to it, before anything long is done for it.

    Args:
        output_dir: Where results will go.

    Raises:
        DataError: It cannot be written to.
    """
    if not is_main():
        return
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=output_dir):
            pass
    except OSError as error:
        raise DataError(f"{output_dir} cannot be written to: {error}") from error


def _settings_in(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} does not tell the run's settings: {error!r}") from error


def check_same(before: Mapping[str, Any], config: Any, file: Path) -> None:
    """Refuse to go on with a run of other settings.

    Args:
        before: The run's settings, as they stand in its file.
        config: Today's, a dataclass.
        file: That file.

    Raises:
        ConfigError: They differ, or one of them did not exist when the run began: what it did then
            need not be today's default.
    """
    was, now = _flat(before), _flat(plain(config))
    new = [f"{name} (now {now[name]!r})" for name in now if name not in was]
    if new:
        raise ConfigError(
            f"the run in {file.parent} is of a version without the settings {', '.join(new)}. "
            f"Write into {file} what it did, then go on, or choose another folder"
        )
    differing = [
        f"{name} was {was[name]!r}, now {now.get(name)!r}"
        for name in sorted(was)
        if name not in now or was[name] != now[name]
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
