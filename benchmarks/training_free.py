r"""A ReLU network made spiking without training: every setting, and a peer, in one table.

Calibration and compensation see unlabelled training images; accuracy is that of other, held-out
ones. Rows are written as they come, and a run that was stopped goes on where it was.

    python benchmarks/training_free.py --checkpoint runs/relu/ann.safetensors \
        --data-root cifar10-folder --output-dir runs/training-free \
        --peer-python peer/bin/python

``--peer-python`` is the interpreter of an environment of its own with ``spikingjelly==2.0.0``.
For another network give ``--bench module:function`` in place of checkpoint and data: a function
that returns the ReLU network, images to calibrate on, images to test on and their labels.

The row "floor" is the ANN with T + 1 levels for each activation (2T + 1 with two spike sizes),
thresholds as in the first row: what is left if nothing is uneven over time and nothing is fitted.
With more sizes levels are not evenly spaced, and there is no such row.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.experiments import load_data
from snntorch_ecl.models import load_ann

STEPS = (2, 4, 8, 16, 32)
BATCH = 25


@dataclass(frozen=True)
class Row:
    """One setting; ``compensation`` is a method of ``ecl.compensate``, or "none"."""

    method: str
    per_channel: bool
    neuron: str
    compensation: str

    @property
    def name(self) -> str:
        where = "channel" if self.per_channel else "layer"
        return f"{self.method}, per {where}, {self.neuron}, {self.compensation}"


def rows() -> Iterator[Row]:
    """The most telling ones first."""
    kinds = ("none", "weights", "steps", "biases", "distill")
    best = [Row("mse", True, "dual", kind) for kind in kinds]
    yield from best
    for kind, per_channel, neuron, method in itertools.product(
        ("none", "weights"), (True, False), ("dual", "IF"), ("mse", "percentile", "max")
    ):
        row = Row(method, per_channel, neuron, kind)
        if row not in best:
            yield row


class Bench:
    """One network, its calibration images and its test images."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.spike_sizes, self.epochs = arguments.spike_sizes, arguments.epochs
        if arguments.bench:
            module, function = arguments.bench.split(":")
            given = getattr(importlib.import_module(module), function)()
            self.relu, self.calibration, self.images, self.labels = given
            return
        checkpoint = load_ann(arguments.checkpoint)
        self.relu = checkpoint.ann
        plain = replace(
            checkpoint.config.data,
            name="folder",
            root=arguments.data_root,
            crop_padding=0,
            flip=False,
            cutout=0,
            auto_augment="none",
        )
        split, _ = load_data(plain)
        self.calibration = _spread(split.train, arguments.calibration)[0]
        self.images, self.labels = _spread(split.test, arguments.images)

    def measure(self, row: Row, steps: tuple[int, ...]) -> Iterator[tuple[int, float, float]]:
        """T, accuracy and the seconds that calibration, conversion and compensation took."""
        if row.method != "mse" and row.compensation == "none":
            snn, seconds = self.converted(row, max(steps))  # the same network at every T
            accuracy = self.accuracy(snn, max(steps))
            yield from ((t, accuracy[t - 1], seconds) for t in steps)
            return
        for t in steps:
            snn, seconds = self.converted(row, t)
            yield t, self.accuracy(snn, t)[-1], seconds

    def converted(self, row: Row, num_steps: int) -> tuple[ecl.SpikingNetwork, float]:
        start = time.perf_counter()
        batches = list(self.calibration.split(64))
        ann = ecl.prepare(self.relu, per_channel=row.per_channel)
        ann = ecl.calibrate(
            ann, batches, method=row.method, num_steps=num_steps,
            spike_sizes=self.spike_sizes, progress=False,
        )  # fmt: skip
        threshold = -math.inf if row.neuron == "IF" else -1e-3
        snn = ecl.convert(ann, negative_threshold=threshold, spike_sizes=self.spike_sizes)
        if row.compensation != "none":
            snn = ecl.compensate(
                snn, self.relu, batches, num_steps=num_steps,
                method=row.compensation, epochs=self.epochs, progress=False,
            )  # fmt: skip
        return snn, time.perf_counter() - start

    def floor(self, num_steps: int) -> float:
        """Accuracy of the ANN with the levels that T steps of one or two spike sizes have."""
        levels = num_steps * self.spike_sizes
        ann = ecl.prepare(self.relu, per_channel=True, levels=levels)
        batches = list(self.calibration.split(64))
        ann = ecl.calibrate(ann, batches, num_steps=levels, progress=False).eval()
        return self.share_right(ann)

    def accuracy(self, snn: ecl.SpikingNetwork, num_steps: int) -> tuple[float, ...]:
        data = zip(self.images.split(BATCH), self.labels.split(BATCH), strict=True)
        return ecl.evaluate(snn, data, num_steps=num_steps, progress=False).accuracy

    def share_right(self, ann: nn.Module) -> float:
        """Accuracy of an ANN."""
        with torch.inference_mode():
            choice = torch.cat([ann(x).argmax(1) for x in self.images.split(BATCH)])
        return float((choice == self.labels).double().mean())


def _spread(data: Any, count: int) -> tuple[Tensor, Tensor]:
    """``count`` pairs, spread evenly over the data."""
    pairs = [data[i * len(data) // count] for i in range(count)]
    return torch.stack([x for x, _ in pairs]), torch.tensor([y for _, y in pairs])


def peer(python: str, bench: Bench, folder: Path) -> dict[str, dict[str, float]]:
    """The same network and images through spikingjelly, in its own environment."""
    given, answer = folder / "peer-input.pt", folder / "peer.json"
    if not answer.exists():
        graph = torch.fx.symbolic_trace(bench.relu)
        torch.save(
            {
                "graph": graph, "calibration": bench.calibration, "images": bench.images,
                "labels": bench.labels, "steps": STEPS,
            },
            given,
        )  # fmt: skip
        script = Path(__file__).with_name("peer_ann2snn.py")
        subprocess.run([python, str(script), str(given), str(answer)], check=True)
        given.unlink()
    found: dict[str, dict[str, float]] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def show(figures: dict[str, Any]) -> Table:
    levels = 2 * figures["spike_sizes"] + 1
    title = f"ANN {100 * figures['ann']:.2f} %; {levels} levels a step, no barrier; accuracy in %"
    table = Table(title=f"{title} at T =")
    for heading in ("setting", *map(str, STEPS), "seconds at T = 8"):
        table.add_column(heading, justify="left" if heading == "setting" else "right")
    for name, row in figures["rows"].items():
        cells = [f"{100 * row[str(t)]:.1f}" if str(t) in row else "" for t in STEPS]
        seconds = row.get("seconds", {}).get("8", row.get("seconds", {}).get("32"))
        table.add_row(name, *cells, "" if seconds is None else f"{seconds:.0f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="of a ReLU network")
    parser.add_argument("--data-root")
    parser.add_argument("--bench", help="module:function, a network and images of your own")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1000, help="test images")
    parser.add_argument("--calibration", type=int, default=512, help="unlabelled training images")
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="T to measure")
    parser.add_argument("--spike-sizes", type=int, default=1, help="K of the neurons")
    parser.add_argument("--epochs", type=int, default=8, help="of distillation")
    parser.add_argument("--peer-python", help="interpreter with spikingjelly 2.0.0")
    arguments = parser.parse_args()
    if not arguments.bench and not (arguments.checkpoint and arguments.data_root):
        parser.error("give --checkpoint and --data-root, or --bench")
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    file = arguments.output_dir / "training-free.json"
    bench = Bench(arguments)
    figures: dict[str, Any] = {"rows": {}}
    if file.exists():
        figures = json.loads(file.read_text(encoding="utf-8"))
    settings = {"spike_sizes": arguments.spike_sizes, "epochs": arguments.epochs}
    if any(figures.get(name, value) != value for name, value in settings.items()):
        parser.error(f"{file} has rows with other spike sizes or epochs: give another folder")
    figures.update(
        settings,
        ann=bench.share_right(bench.relu), images=len(bench.labels),
        calibration=len(bench.calibration),
        torch=torch.__version__, threads=torch.get_num_threads(), machine=platform.processor(),
        cores=os.cpu_count(), package=ecl.__version__,
    )  # fmt: skip
    if arguments.peer_python:
        figures["rows"].update(peer(arguments.peer_python, bench, arguments.output_dir))
    floor = figures["rows"].setdefault("floor", {})
    for t in arguments.steps if arguments.spike_sizes <= 2 else ():
        floor.setdefault(str(t), bench.floor(t))
    for row in (row for row in rows() if arguments.only in row.name):
        done = figures["rows"].setdefault(row.name, {**asdict(row), "seconds": {}, "mib": {}})
        missing = tuple(t for t in arguments.steps if str(t) not in done)
        for t, accuracy, seconds in bench.measure(row, missing) if missing else ():
            done[str(t)], done["seconds"][str(t)] = accuracy, seconds
            # Of the process until now: for the peak of one row, run that row alone (--only).
            done["mib"][str(t)] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            file.write_text(json.dumps(figures, indent=2), encoding="utf-8")
            print(f"{row.name}, T = {t}: {100 * accuracy:.2f} % ({seconds:.0f} s)", file=sys.stderr)
    file.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    Console().print(show(figures))


if __name__ == "__main__":
    main()
