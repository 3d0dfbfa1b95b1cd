"""What each of two processes does, for tests that compare them with one."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import snntorch_ecl as ecl
from snntorch_ecl._util.processes import joined
from snntorch_ecl.errors import DataError
from snntorch_ecl.experiments import (
    EnergyConfig,
    ExitConfig,
    MeasureConfig,
    _cost_runs,
    run_early_exit,
    run_energy,
    run_evaluation,
)

from ..conversion.test_calibrate import METHODS, images, network, thresholds
from . import runs  # noqa: F401  the network of the checkpoint gets its name there
from .fits import fit_on
from .forked import start


def costs(checkpoint: Path, folder: Path) -> None:
    """Energy, early exit and accuracy of a network."""
    some: dict[str, Any] = {"checkpoint": str(checkpoint), "steps": (3,), "images": 7}
    run_energy(EnergyConfig(**some), folder, progress=False)  # each meets the others anew
    run_early_exit(ExitConfig(**some), folder, progress=False)
    whole = MeasureConfig(checkpoint=str(checkpoint), steps=(1, 2, 4))
    run_evaluation(whole, folder, progress=False)


def watched(whole: Any, folder: Path) -> Any:
    """A function of a network and data that leaves a file which says how many images it saw."""

    def watch(snn: Any, data: Any, **options: Any) -> Any:
        seen = sum(len(images) for images, _ in data)
        (folder / f"{whole.__name__}-{os.environ['RANK']}-{seen}").touch()
        return whole(snn, data, **options)

    return watch


def one_of_two(checkpoint: Path, folder: Path) -> None:
    """The share of a process; what it finds is in files."""
    for name in ("energy", "exit_curve"):
        setattr(_cost_runs, name, watched(getattr(_cost_runs, name), folder))
    costs(checkpoint, folder / "two")
    with joined() as place:
        chosen = folder / "thresholds"
        chosen.mkdir(exist_ok=True)
        for method in METHODS:
            ann = ecl.prepare(network(), per_channel=method == "mse")
            share = images()[place.rank :: 2].split(7)
            options: dict[str, Any] = {"method": method, "distributed": True, "progress": False}
            found = thresholds(ecl.calibrate(ann, share, **options))
            torch.save(found, chosen / f"{method} {place.rank}.pt")
        try:  # no process waits for one that has nothing
            ecl.calibrate(ann, share if place.rank == 0 else [], **options)
        except DataError as error:
            (chosen / f"error {place.rank}").write_text(str(error))
    fit_on(2, folder)


def fork_two(checkpoint: Path, folder: Path) -> None:
    """Two processes, told of each other as ``torchrun`` would; it loads torch in each of them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    said = [folder / f"said {rank}" for rank in (0, 1)]
    both = [
        start(one_of_two, checkpoint, folder, said=said[rank], environment=place(rank, port))
        for rank in (0, 1)
    ]
    for process, file in zip(both, said, strict=True):
        process.join()
        assert process.exitcode == 0, file.read_text()[-2000:]


def place(rank: int, port: int) -> Mapping[str, str]:
    """The variables that tell one of two processes on a machine who it is."""
    of_all = {"RANK": str(rank), "WORLD_SIZE": "2"}
    here = {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return {**of_all, **here, **meeting, "TORCHELASTIC_RUN_ID": "none"}
