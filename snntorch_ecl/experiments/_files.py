"""The files of a run: results with all that repeats them, and what lets a run be resumed."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import snntorch
import torch

from .._util.checks import check_whole_numbers
from .._util.files import replacing
from .._util.optional import require
from .._util.processes import is_main
from .._util.results import Result
from .._version import __version__
from ..errors import ConfigError, DataError
from ..settings._reader import plain


def versions_and_machine() -> dict[str, Any]:
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
    """Write plain data, all or nothing; :class:`DataError` if the file cannot be written."""
    try:
        with replacing(path) as part:
            part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}") from error
    return path


def write_result(output_dir: Path, name: str, config: Any, result: Result, **more: Any) -> None:
    """Write ``name.json``, from which the run can be repeated, and ``name.svg``; once for all.

    ``more`` is plain data that stands beside the result's own.
    """
    if not is_main():
        return
    figures = {**result.to_dict(), **more}
    content = {"config": asdict(config), "figures": figures, **versions_and_machine()}
    write_json(output_dir / f"{name}.json", content)
    picture = output_dir / f"{name}.svg"
    try:
        with replacing(picture) as part:
            result.plot().savefig(part, format="svg")
    except OSError as error:
        raise DataError(f"{picture} cannot be written: {error}") from error


def begin_or_resume(output_dir: Path, config: Any, *, resume: bool) -> None:
    """Make a training's folder with its ``config.json``, or see that it holds the same run."""
    if not is_main():
        return
    file = output_dir / "config.json"
    # `Path.is_dir` of old Pythons raises if the name is too long.
    exists = os.path.isdir(output_dir)
    trained = [*output_dir.glob("*.ckpt"), *output_dir.glob("*.safetensors")] if exists else []
    if trained:
        trained.sort()
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
    elif resume:
        raise ConfigError(
            f"{output_dir} holds no run that could go on (no checkpoint); name the folder of the "
            "run, or leave out --resume to begin one"
        )
    check_writable(output_dir)
    write_json(file, {"config": plain(config)})


def check_processes(devices: int, num_nodes: int) -> None:
    """Refuse a wrong number of processes before data and Lightning are loaded."""
    check_whole_numbers("devices", (devices,), lowest=1)
    check_whole_numbers("num_nodes", (num_nodes,), lowest=1)


def check_alone(what: str) -> None:
    """Refuse to do in each of several processes what one has to do by itself."""
    several = os.environ.get("WORLD_SIZE", "1")
    if "RANK" in os.environ and several != "1":
        raise ConfigError(
            f"{what} runs in one process, but {several} were started (WORLD_SIZE); start it "
            "without torchrun"
        )


def check_writable(output_dir: Path) -> None:
    """Make a folder, write to it and see that pictures can be drawn, before anything long."""
    if not is_main():
        return
    require("matplotlib.figure", extra="demo")
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=output_dir):
            pass
    except OSError as error:
        raise DataError(f"{output_dir} cannot be written to: {error}") from error


def _settings_in(file: Path) -> dict[str, Any]:
    """The settings of the run whose file this is."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} does not tell the run's settings: {error!r}") from error


def check_same(before: Mapping[str, Any], config: Any, file: Path) -> None:
    """Refuse to go on with a run of other settings, or of a version that did not know one of them.

    What such a version did need not be today's default.
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
    """Nested settings by their names with dots."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat
