r"""Levels by layer: spikes and accuracy at T, beside fewer steps and fewer levels in all layers.

    python benchmarks/levels.py digits --output-dir runs/levels-digits --seeds 3 --epochs 2
    python benchmarks/levels.py resnet20 --data FOLDER --output-dir runs/levels

Digits: for each seed and T a network is trained with L = T (8 epochs, the recipe). ResNet-20: the
shipped ``resnet20-cifar10-l4``; ``FOLDER`` holds ``cifar10_train.npz`` and ``cifar10_test.npz``
(``x`` uint8 ``[N, 3, 32, 32]`` and ``y``). Rows, all on the same test images:

- steps t: ``convert``, θ = λ, after t ≤ T steps: the other way to save spikes;
- all L: ``levelled`` with the same L in all layers;
- share s: ``levelled`` with what ``allocate_levels`` has chosen when s of the spikes were left, by
  unlabelled training images;
- trained: the same rows after ``--epochs`` of training with these levels, on ``--train`` images.
  With T as the L of all layers and as many epochs it is the row to compare with.

Each row has the difference to the network that ``convert`` makes, after T steps, with the standard
error of that difference on these images. Rows are written as they come; a second run goes on.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl._util.tables import table
from snntorch_ecl.experiments import digits
from snntorch_ecl.models import build, load_pretrained
from snntorch_ecl.network import Observer, Seen

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5)
BATCH = 50


class Spikes(Observer):
    """Counts spikes of either sign, after each step."""

    def __init__(self, snn: ecl.SpikingNetwork, num_steps: int) -> None:
        super().__init__(snn.neurons)
        self.counts = torch.zeros(num_steps, dtype=torch.int64)

    def begin(self, *inputs: Tensor) -> None:
        self.done = dict.fromkeys(self.layers, 0)

    def see(self, seen: Seen) -> None:
        first = self.done[seen.name]
        self.done[seen.name] += seen.num_steps
        fired = seen.output.ne(0).view(seen.num_steps, -1).sum(1)
        self.counts[first : first + seen.num_steps] += fired.cpu()


class Bench:
    """Networks, images and the rows that are there."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.file = given, given.output_dir / "levels.json"
        given.output_dir.mkdir(parents=True, exist_ok=True)
        self.rows: dict[str, Any] = {}
        if self.file.exists():
            self.rows = json.loads(self.file.read_text(encoding="utf-8"))["rows"]
        if given.network == "digits":
            train, test = digits()
            # They are in the order of their classes.
            (self.train, self.labels), (images, answers) = map(shuffled, (train, test))
        else:
            self.train, self.labels = self.cifar("train")
            images, answers = self.cifar("test")
        self.images, self.answers = images[: given.images], answers[: given.images]

    def cifar(self, split: str) -> tuple[Tensor, Tensor]:
        data = load_pretrained("resnet20-cifar10-l4").config.data
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (data.mean, data.std))
        with np.load(self.given.data / f"cifar10_{split}.npz") as file:
            few = max(self.given.train, self.given.images)
            images = torch.from_numpy(file["x"][:few]).float() / 255
            return (images - mean) / std, torch.from_numpy(file["y"][:few]).long()

    def write(self, name: str, row: dict[str, Any]) -> None:
        self.rows[name] = row
        settings = {k: str(v) for k, v in vars(self.given).items()}
        versions = {"torch": torch.__version__, "package": ecl.__version__}
        text = json.dumps({**settings, **versions, "cores": os.cpu_count(), "rows": self.rows})
        self.file.write_text(text, encoding="utf-8")
        print(name, {k: v for k, v in row.items() if k != "right"}, file=sys.stderr, flush=True)

    def measure(self, name: str, ann: nn.Module, levels: Any, num_steps: int) -> None:
        """A row, of the network at T; without levels one for each t ≤ T."""
        if name in self.rows:
            return
        snn = ecl.convert(ann)
        if levels is not None:
            snn = ecl.levelled(snn, num_steps=num_steps, levels=levels)
        spikes, right = Spikes(snn, num_steps), []
        for images, answers in zip(
            self.images.split(BATCH), self.answers.split(BATCH), strict=True
        ):
            with torch.no_grad():
                logits = snn.logits_over_time(images, num_steps=num_steps, observers=[spikes])
            right.append(logits.argmax(2) == answers)
        hits = torch.cat(right, 1)
        counts = (spikes.counts.cumsum(0) / len(self.images)).tolist()
        if levels is None:
            for t in range(1, num_steps):
                self.write(f"{name} steps {t}", figures(hits[t - 1], counts[t - 1]))
        self.write(name, {**figures(hits[-1], counts[-1]), "levels": levels})

    def trained(self, ann: nn.Module, epochs: int, seed: int, rate: float) -> nn.Module:
        """A copy, trained on flipped and shifted training images (digits: as they are)."""
        ann = copy.deepcopy(ann).train()
        torch.manual_seed(seed)
        images, labels = self.train[: self.given.train], self.labels[: self.given.train]
        steps = epochs * (len(images) // 64)
        optimizer = torch.optim.SGD(ann.parameters(), rate, momentum=0.9, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(epochs):
            for chosen in torch.randperm(len(images)).split(64)[: len(images) // 64]:
                batch = images[chosen]
                if batch.shape[1] == 3:
                    batch = varied(batch)
                optimizer.zero_grad()
                nn.functional.cross_entropy(ann(batch), labels[chosen]).backward()
                optimizer.step()
                schedule.step()
        return ann.eval()

    def network(self, num_steps: int, seed: int) -> nn.Module:
        """The ANN that is converted."""
        if self.given.network == "resnet20":
            return load_pretrained("resnet20-cifar10-l4").ann
        file = self.given.output_dir / f"ann-{num_steps}-{seed}.pt"
        torch.manual_seed(seed)
        ann = ecl.prepare(build("digit_net", classes=10), levels=num_steps)
        if not file.exists():
            torch.save(self.trained(ann, 8, seed, 0.05).state_dict(), file)
        ann.load_state_dict(torch.load(file))
        return ann.eval()

    def run(self, num_steps: int, seed: int) -> None:
        """All rows of one T and one seed."""
        ann, name = self.network(num_steps, seed), f"T {num_steps} seed {seed}"
        with torch.no_grad():
            right = torch.cat([ann(x) for x in self.images.split(BATCH)]).argmax(1) == self.answers
        self.write(f"{name} ANN", figures(right, 0.0))
        self.measure(name, ann, None, num_steps)
        if self.given.levels:
            for level in self.given.levels:
                self.measure(f"{name} all {level}", ann, level, num_steps)
            return
        path = self.path(f"{name} path", ann, num_steps)
        for share, levels in path.items():
            self.measure(f"{name} share {share}", ann, levels, num_steps)
        top = max(path[max(path)].values())
        for level in range(top if top < num_steps else top - 1, 0, -1):
            self.measure(f"{name} all {level}", ann, level, num_steps)
        if self.given.epochs:
            self.compare_trained(name, ann, path, num_steps, seed)

    def path(self, name: str, ann: nn.Module, num_steps: int) -> dict[float, dict[str, int]]:
        """The levels at each share of the spikes, from one search."""
        if name not in self.rows:
            found = ecl.allocate_levels(
                ann, self.train[: self.given.search].split(BATCH), num_steps=num_steps,
                budget=min(self.given.shares), progress=False,
            )  # fmt: skip
            self.write(name, found.to_dict())
        found, wanted = self.rows[name], sorted(self.given.shares, reverse=True)
        levels = {layer["name"]: layer["start"] for layer in found["layers"]}
        path: dict[float, dict[str, int]] = {}
        for move in found["moves"]:
            levels[move["name"]] = move["levels"]
            # A move that passes several shares at once counts for the last of them.
            reached = [share for share in wanted if move["spikes"] <= share]
            path.update({share: dict(levels) for share in reached[-1:]})
            wanted = wanted[len(reached) :]
        return path

    def compare_trained(
        self,
        name: str,
        ann: nn.Module,
        path: dict[float, dict[str, int]],
        num_steps: int,
        seed: int,
    ) -> None:
        """The same after some epochs with the levels; all layers with their own L beside it."""
        own = {layer: clip.levels for layer, clip in clips(ann).items()}
        for share, levels in {1.0: own, **path}.items():
            row = f"{name} trained {share}"
            if row in self.rows or not (share == 1.0 or share in self.given.trained_shares):
                continue
            better = self.trained(
                ecl.prepare(ann, levels=levels), self.given.epochs, seed, self.given.rate
            )
            if share == 1.0:
                self.measure(row, better, None, num_steps)
            else:
                self.measure(row, better, levels, num_steps)
                self.measure(f"{row} but θ = λ", better, None, num_steps)


def shuffled(data: Any) -> tuple[Tensor, Tensor]:
    """Images and labels in an order that is the same each time."""
    images, labels = data.tensors
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order], labels[order]


def clips(ann: nn.Module) -> dict[str, ecl.ThresholdClip]:
    return {name: m for name, m in ann.named_modules() if isinstance(m, ecl.ThresholdClip)}


def varied(images: Tensor) -> Tensor:
    """Half of the images mirrored, all shifted by up to 4 pixels."""
    flip = torch.rand(len(images)) < 0.5
    images = torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)
    padded = nn.functional.pad(images, (4, 4, 4, 4))
    places = torch.randint(0, 9, (len(images), 2)).tolist()
    return torch.stack(
        [x[:, i : i + 32, j : j + 32] for x, (i, j) in zip(padded, places, strict=True)]
    )


def figures(right: Tensor, spikes: float) -> dict[str, Any]:
    return {
        "accuracy": float(right.double().mean()),
        "spikes": spikes,
        "right": "".join(map(str, right.int().tolist())),
    }


def difference(row: dict[str, Any], other: dict[str, Any]) -> str:
    """By how many points a row is better, and the standard error of that."""
    pairs = zip(row["right"], other["right"], strict=True)
    gains = [int(a) - int(b) for a, b in pairs]
    mean, count = sum(gains) / len(gains), len(gains)
    variance = sum((gain - mean) ** 2 for gain in gains) / (count - 1)
    return f"{100 * mean:+.1f} ± {100 * math.sqrt(variance / count):.1f}"


def shown(rows: dict[str, Any], name: str) -> Iterator[tuple[str, ...]]:
    whole = rows[name]
    for key, row in rows.items():
        if not key.startswith(name) or "accuracy" not in row:
            continue
        label = key.removeprefix(name).strip() or "convert, T steps"
        levels = row.get("levels")
        listed = " ".join(map(str, levels.values())) if isinstance(levels, dict) else ""
        yield (
            label, f"{row['spikes']:,.0f}", f"{row['spikes'] / whole['spikes']:.2f}",
            f"{100 * row['accuracy']:.1f}", difference(row, whole), listed,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("network", choices=["digits", "resnet20"])
    add("--data", type=Path, help="folder of CIFAR-10's arrays")
    add("--output-dir", type=Path, required=True)
    add("--steps", type=int, nargs="+", default=[2, 4, 8], help="T")
    add("--seeds", type=int, default=1)
    add("--images", type=int, default=1000, help="test images")
    add("--levels", type=int, nargs="+", help="measure only these L in all layers, no search")
    add("--search", type=int, default=200, help="unlabelled training images to choose by")
    add("--train", type=int, default=4000, help="training images")
    add("--epochs", type=int, default=0, help="of training with the levels chosen")
    add("--rate", type=float, default=0.01, help="its learning rate")
    add("--shares", type=float, nargs="+", default=SHARES, help="of the spikes")
    add("--trained-shares", type=float, nargs="+", default=[0.7, 0.5])
    given = parser.parse_args()
    if given.network == "resnet20" and given.data is None:
        parser.error("give --data")
    bench, console = Bench(given), Console(width=150)
    for num_steps in given.steps:
        for seed in range(given.seeds):
            bench.run(num_steps, seed)
            name = f"T {num_steps} seed {seed}"
            columns = ("", "spikes", "share", "accuracy, %", "difference", "levels")
            console.print(table(name, columns, shown(bench.rows, name)))


if __name__ == "__main__":
    main()
