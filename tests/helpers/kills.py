"""Kill runs at random moments, resume them, and compare with runs that nothing interrupted.

``python -m tests.helpers.kills FOLDER ROUNDS SEED COMMAND…``; each round ends a run twice.
Processes are forked from this one, which has loaded all that they need; tests start it by
:mod:`tests.helpers.forked`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.utils.tensorboard
import torchvision.transforms.v2
from matplotlib.backends import backend_svg
from safetensors.torch import load_file

from snntorch_ecl.experiments import (
    AblateConfig,
    BenchConfig,
    EnergyConfig,
    ExitConfig,
    MeasureConfig,
    SweepConfig,
    TuneConfig,
    run_ablation,
    run_bench,
    run_early_exit,
    run_energy,
    run_evaluation,
    run_sweep,
    run_training,
    run_tuning,
)
from snntorch_ecl.experiments._folder import own_folder
from snntorch_ecl.settings import TrainConfig
from snntorch_ecl.training import _lightning

from .runs import SMALL, experiment, image_folder

Run = Callable[[Path, bool], object]
# Loaded here, once for all.
LOADED = (_lightning, backend_svg, torch.utils.tensorboard, torchvision.transforms.v2)
# Ctrl-C and SIGTERM leave a checkpoint within the epoch, SIGKILL does not.
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def commands(base: Path) -> dict[str, Run]:
    """Small runs of every command that writes, by name; the second argument is ``resume``."""
    settings = experiment(image_folder(base / "images"), train={"epochs": 2})
    checkpoint = str(base / "train-whole" / "ann.safetensors")
    some: dict[str, Any] = {"checkpoint": checkpoint, "steps": (2,)}
    recipe = TrainConfig(epochs=2, lr=0.005, batch_size=8)
    tuning = TuneConfig(measure=MeasureConfig(**some), train=recipe)
    grid = SweepConfig(experiment=settings, levels=(2, 4), steps=(1, 2), seeds=1)
    quiet = {"progress": False}

    def bench(folder: Path, resume: bool) -> object:
        one: dict[str, Any] = {"models": (SMALL,), "steps": (1,), "batch_sizes": (1,)}
        return run_bench(BenchConfig(**one, image_size=8, repeats=1), folder, **quiet)

    return {
        "train": lambda folder, resume: run_training(settings, folder, resume=resume, **quiet),
        "finetune": lambda folder, resume: run_tuning(tuning, folder, resume=resume, **quiet),
        "sweep": lambda folder, _: run_sweep(grid, folder, **quiet),
        "evaluate": lambda folder, _: run_evaluation(MeasureConfig(**some), folder, **quiet),
        "ablate": lambda folder, _: run_ablation(AblateConfig(**some), folder, **quiet),
        "energy": lambda folder, _: run_energy(EnergyConfig(**some), folder, **quiet),
        "early-exit": lambda folder, _: run_early_exit(ExitConfig(**some), folder, **quiet),
        "bench": bench,
    }


def forked(run: Run, folder: Path, moment: float | None, number: int) -> float:
    """Run in a process of its own, end it by a signal after a moment; how long it took."""
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            run(folder, (folder / "config.json").exists())
            status = 0
        except KeyboardInterrupt:
            status = 130
        finally:
            sys.stderr.flush()
            os._exit(status)
    if moment is not None:
        time.sleep(moment)
        os.kill(child, number)  # to one that has ended already as well: nobody has waited for it
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in ((0,) if moment is None else (0, -number, 128 + number)), code
    return time.perf_counter() - started


def assert_whole(folder: Path) -> None:
    """Every file that has its final name can be read."""
    for file in folder.rglob("*"):
        if file.suffix == ".json":
            json.loads(file.read_text())
        elif file.suffix == ".safetensors":
            load_file(file)
        elif file.suffix == ".ckpt":
            torch.load(file, weights_only=True)
        elif file.suffix == ".svg":
            assert file.read_text().rstrip().endswith("</svg>")


def found(folder: Path) -> dict[str, Any]:
    """What a run has found: weights, and figures but for times."""
    result: dict[str, Any] = {}
    for file in folder.glob("*.safetensors"):
        result |= {f"{file.name} {key}": value.tolist() for key, value in load_file(file).items()}
    for name in ("sweep", "evaluation", "ablation", "energy", "early_exit", "tuning"):
        file = folder / f"{name}.json"
        if file.exists():
            result[name] = json.loads(file.read_text())["figures"]
    return result


def kill(base: Path, rounds: int, seed: int, names: tuple[str, ...]) -> None:
    """Kill each of the commands, twice in each round; ``ends.json`` says how often."""
    moments, runs = random.Random(seed), commands(base)
    ends: dict[str, int] = {}
    for name in names:
        run, whole = runs[name], base / f"{name}-whole"
        seconds = forked(run, whole, None, 0)
        expected = found(whole)
        for index in range(rounds):
            folder = base / f"{name}-{index}"
            for _ in range(2):
                number = moments.choice(SIGNALS)
                forked(run, folder, moments.uniform(0, seconds), number)
                assert_whole(folder)
                ends[name] = ends.get(name, 0) + 1
            forked(run, folder, None, 0)
            assert_whole(folder)
            assert found(folder) == expected, f"{folder}, seed {seed}"
            left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
            assert left == [], left
    (base / "ends.json").write_text(json.dumps(ends))


def train_until_killed(root: Path, folder: Path) -> None:
    """A training that is killed when half of its second checkpoint is written."""
    whole_save = torch.save

    def save(checkpoint: dict[str, Any], file: Any, *rest: Any, **options: Any) -> None:
        if checkpoint["epoch"] == 1:
            file.write(b"PK" + bytes(100_000))
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        whole_save(checkpoint, file, *rest, **options)

    torch.save = save
    run_training(experiment(root), folder, progress=False)


def hold(folder: Path, inside: Connection, fork: bool = False) -> None:
    """Own a folder until killed; say so, with the number of a forked process if there is one."""
    with own_folder(folder):
        child = os.fork() if fork else None
        if child != 0:
            inside.send(child)
        time.sleep(60)


if __name__ == "__main__":
    kill(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), tuple(sys.argv[4:]))
