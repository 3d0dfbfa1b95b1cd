"""The files of a run: results, with all that repeats them."""

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

from .._util.checks import check_whole_numbers
from .._util.files import remedy, replacing
from .._util.processes import is_main
from .._util.results import Result
from .._version import __version__
from ..errors import ConfigError, DataError


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
        raise DataError(f"{path} cannot be written: {error}{remedy(error)}") from error
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
        raise DataError(f"{picture} cannot be written: {error}{remedy(error)}") from error


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
