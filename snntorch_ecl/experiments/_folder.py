"""The folder of a run: kept to one run at a time, begun or gone on with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from .._util.files import remedy, remove_parts
from .._util.locks import locked
from .._util.optional import require
from .._util.processes import is_main
from ..errors import ConfigError, DataError
from ..settings._reader import plain
from ._files import write_json


@contextmanager
def own_folder(output_dir: Path) -> Iterator[None]:
    """Make a folder, see that files and pictures can be written, and keep it to this run."""
    if not is_main():
        yield
        return
    require("matplotlib.figure", extra="demo")
    with ExitStack() as stack:
        try:
            if not os.path.lexists(output_dir):
                output_dir.mkdir(parents=True)
                stack.callback(_remove_if_empty, output_dir)
            with TemporaryFile(dir=output_dir):
                pass
            stack.enter_context(locked(output_dir))
        except OSError as error:
            raise DataError(f"{output_dir} cannot be written to: {error}{remedy(error)}") from error
        remove_parts(output_dir)
        yield


@contextmanager
def run_folder(output_dir: Path, config: Any, *, resume: bool) -> Iterator[None]:
    """The folder of a training, with its ``config.json``, new or of the same run."""
    with own_folder(output_dir):
        if is_main():
            _begin_or_resume(output_dir, config, resume=resume)
        yield


def _begin_or_resume(output_dir: Path, config: Any, *, resume: bool) -> None:
    """Write ``config.json``, or see that the folder holds the same run."""
    file = output_dir / "config.json"
    trained = sorted([*output_dir.glob("*.ckpt"), *output_dir.glob("*.safetensors")])
    if trained and not resume:
        raise ConfigError(
            f"{output_dir} already holds {trained[0].name}; resume its run (--resume), or "
            "choose another folder"
        )
    if trained:
        for needed in (file, output_dir / "last.ckpt"):
            if not needed.is_file():
                raise ConfigError(
                    f"{output_dir} holds {trained[0].name}, but no {needed.name} from which to "
                    "resume its run; put it back (best.ckpt will do for last.ckpt), or choose "
                    "another folder"
                )
    elif resume and not file.is_file():
        raise ConfigError(
            f"{output_dir} holds no run to resume; name the folder of the run, or leave "
            "out --resume to start one"
        )
    if resume:  # one that was killed before its first checkpoint begins again
        check_same(_settings_in(file), config, file)
    write_json(file, {"config": plain(config)})


def _remove_if_empty(folder: Path) -> None:
    """Remove a folder that was made for a run which was refused."""
    with suppress(OSError):
        folder.rmdir()


def _settings_in(file: Path) -> dict[str, Any]:
    """The settings of the run whose file this is."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} does not hold the settings of a run: {error!r}") from error


def check_same(before: Mapping[str, Any], config: Any, file: Path) -> None:
    """Refuse to go on with a run of other settings, or of a version that did not know one of them.

    What such a version did need not be today's default.
    """
    was, now = _flat(before), _flat(plain(config))
    new = [f"{name} (now {now[name]!r})" for name in now if name not in was]
    if new:
        raise ConfigError(
            f"the run in {file.parent} was started by a version without the settings "
            f"{', '.join(new)}. Add the values it used to {file}, or choose another folder"
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
