"""What the stages of ``paper.py`` share: settings, data, time, results and files."""

from __future__ import annotations

import argparse
import json
import lzma
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

import snntorch_ecl as ecl
from snntorch_ecl._util.devices import default_device
from snntorch_ecl._util.files import replacing
from snntorch_ecl.errors import ConfigError
from snntorch_ecl.experiments._files import versions_and_machine, write_json
from snntorch_ecl.models import load_ann
from snntorch_ecl.nn._threshold_clip import clips_of
from snntorch_ecl.settings import TrainConfig
from snntorch_ecl.training import DeviceImages
from snntorch_ecl.training._thresholds import start_thresholds

# Shares of the time that is left, among the stages that are still to come.
WEIGHTS = {
    "relu-vs-clip": 15,
    "train": 50,
    "table": 6,
    "finetune-t2": 22,
    "finetune-t1": 22,
    "finetune-t4": 18,
    "long": 5,
}
# Settings that a run keeps when it goes on.
_DEFINE = ("model", "levels", "start", "teacher", "batch_size", "augment", "cutout", "seed")
# Bytes of a file's part.
SHARD = 15 * 2**20


class Run:
    """Settings, data, results so far and the time that is left."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.folder = given, given.output_dir
        self.end = time.monotonic() + given.seconds
        self.device = torch.device(given.device or default_device())
        self.on_gpu = self.device.type == "cuda"
        self.train, self.test = (self._images(split) for split in ("train", "test"))
        self.writers: list[threading.Thread] = []
        self.file = self.folder / "paper.json"
        self.results: dict[str, Any] = {}
        if self.file.is_file():
            self.results = json.loads(self.file.read_text(encoding="utf-8"))
            self._check_same(self.results["settings"])

    def _check_same(self, before: dict[str, str]) -> None:
        for name in _DEFINE:
            if before.get(name, "None") != str(getattr(self.given, name)):
                raise ConfigError(
                    f"{self.folder} holds a run with {name} {before[name]}, now "
                    f"{getattr(self.given, name)}; choose another folder"
                )

    def _images(self, split: str) -> DeviceImages:
        with np.load(self.given.data / f"cifar10_{split}.npz") as file:
            images, labels = (torch.from_numpy(file[name][: self.given.images]) for name in "xy")
        return DeviceImages(
            images,
            labels,
            trivial_augment=self.given.augment == "trivial",
            cutout=self.given.cutout,
            seed=self.given.seed,
            device=self.device,
        )

    def left(self) -> float:
        return self.end - time.monotonic()

    def share(self, stage: str) -> float:
        """Seconds for a stage: its share of what is left."""
        stages = self.given.stages[self.given.stages.index(stage) :]
        return max(0.0, self.left()) * WEIGHTS[stage] / sum(WEIGHTS[name] for name in stages)

    def note(self, stage: str, found: Any, *, done: bool = True) -> None:
        """Write what a stage has found at once: a run that is killed loses none of it."""
        given = {name: str(value) for name, value in vars(self.given).items()}
        if done:
            self.results.pop(f"{stage}, so far", None)
        self.results[stage if done else f"{stage}, so far"] = found
        content = {**self.results, "settings": given, **versions_and_machine()}
        write_json(self.file, content)
        print(f"[{self.given.seconds - self.left():6.1f} s] {stage}: {headline(found)}", flush=True)

    def config(self, **more: Any) -> TrainConfig:
        return TrainConfig(
            **{
                "batch_size": self.given.batch_size,
                "precision": "bf16-mixed" if self.on_gpu else "32-true",
                "channels_last": self.on_gpu,
                "compile": self.given.compile,
                "gradient_clip": 5.0,
                "seed": self.given.seed,
                **more,
            }
        )

    def network(self, levels: str, start: Path | None = None) -> nn.Module:
        """Fresh weights, or those of ``start``; thresholds from it too, or from a batch."""
        torch.manual_seed(self.given.seed)
        net = ecl.models.build(self.given.model, classes=10).to(self.device)
        first = self.stored(start) if start is not None else None
        clipped = first is not None and bool(clips_of(first))
        if first is not None and not clipped:
            net.load_state_dict(first.state_dict())
        if levels != "relu":
            net = ecl.prepare(net, levels=int(levels))
            if not clipped:
                start_thresholds(net, next(self.train.epoch(0, self.given.batch_size))[0])
        if first is not None and clipped:
            net.load_state_dict(first.state_dict())
        return net

    def stored(self, path: Path) -> nn.Module:
        """The network in a file, without spikes."""
        return load_ann(path).ann.to(self.device)

    def shrink(self, net: nn.Module) -> None:
        """Round large networks' weights to what bfloat16 holds, so that files compress."""
        weights = [p for p in net.parameters() if p.ndim > 1]
        if 4 * sum(p.numel() for p in weights) > SHARD:
            with torch.no_grad():
                for weight in weights:
                    weight.copy_(weight.bfloat16().float())

    def renorm(self, net: nn.Module) -> None:
        """Statistics of batch norms anew, in float32, as weights no longer move."""
        size = min(250, len(self.train))
        batches = (images.contiguous() for images, _ in self.train.epoch(2**20, size))
        most = max(1, 20_000 // size)
        update_bn((images for _, images in zip(range(most), batches, strict=False)), net)

    def measure(
        self,
        snn: ecl.SpikingNetwork,
        num_steps: int,
        ann: nn.Module | None = None,
        images: int | None = None,
    ) -> dict[str, Any]:
        """Accuracy at every t up to T."""
        begin, size = time.monotonic(), 500
        batches = self.test.plain(size)
        wanted = -(-(images or len(self.test)) // size)
        found = ecl.evaluate(
            snn,
            [batch for _, batch in zip(range(wanted), batches, strict=False)],
            num_steps=num_steps,
            ann=ann,
            progress=False,
        )
        return {**found.to_dict(), "seconds": round(time.monotonic() - begin, 1)}

    @torch.no_grad()
    def accuracy(self, net: nn.Module) -> float:
        """Share of right answers of a network that is no spiking one."""
        net.eval()
        right = [(net(x).argmax(1) == y).sum() for x, y in self.test.plain(500)]
        return int(torch.stack(right).sum()) / len(self.test)

    def pack(self, path: Path) -> None:
        """Write a large file's compressed form in parts, while the run goes on."""
        if path.stat().st_size > SHARD:
            self.writers.append(threading.Thread(target=parts, args=(path,)))
            self.writers[-1].start()


def parts(path: Path) -> None:
    packed = lzma.compress(path.read_bytes(), preset=1)
    for number, start in enumerate(range(0, len(packed), SHARD)):
        with replacing(path.with_name(f"{path.name}.xz.{number:02d}")) as part:
            part.write_bytes(packed[start : start + SHARD])


def headline(found: Any) -> str:
    """The figures of a stage that fit on a line."""
    if not isinstance(found, dict):
        return str(found)
    plain = {k: v for k, v in found.items() if isinstance(v, (int, float, str))}
    for name, value in found.items():
        if isinstance(value, dict) and "diverged" in value:
            plain[name] = f"loss {value['loss']:.3f}{' DIVERGED' * value['diverged']}"
        if isinstance(value, dict) and "accuracy" in value:
            plain[name] = " ".join(f"{100 * a:.2f}" for a in value["accuracy"])
    return ", ".join(
        f"{k} {v:.5g}" if isinstance(v, float) else f"{k} {v}" for k, v in plain.items()
    )
