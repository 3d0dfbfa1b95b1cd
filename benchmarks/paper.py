r"""The paper's networks and its table on CIFAR-10, within ten minutes of an accelerator.

    python benchmarks/paper.py --data FOLDER --output-dir runs/resnet18 --seconds 560

``FOLDER`` holds ``cifar10_train.npz`` and ``cifar10_test.npz``: ``x`` uint8 ``[N, 3, 32, 32]`` and
``y``. Stages, in the order in which they are given:

- ``relu-vs-clip``: does a rate that ReLU survives (batch 512, 0.4) break clips? Losses of every
  step, compiled and eager.
- ``train``: the clipped network, from fresh weights or from ``--start``, the file of a ReLU network
  or of a clipped one with other levels. With ``--teacher`` it learns that network's answers beside
  the labels. Epochs are planned from what an epoch takes, anew after each one, and the
  cosine ends when the time does. An epoch that diverges is taken back, at half the rate.
- ``table``: T = 1 … 8 with both thresholds and with one, from v(0) = θ/2 and from 0, on this one
  checkpoint and all test images.
- ``finetune-t2``, ``finetune-t1``, ``finetune-t4``: the spiking network learns on at that T, with
  the clipped network as its teacher, or ``--teacher``; the next of them starts from the one
  before, but T = 4 from the clipped one.
- ``long``: the table up to T = 32, on as many test images as the rest of the time allows.

``paper.json`` is written after each stage, checkpoints twice a minute. Started again with the same
output folder, the script goes on where it was. ``ann.safetensors`` and ``snn-t*.safetensors`` are
files of the package (``load_ann``, ``load``). If they are larger than 15 MiB, the weights of
convolutions and linear layers are first rounded to 8 significant bits, as bfloat16 has and as
training saw them; what is measured is measured afterwards. Beside such a file stand the parts of
its compressed form: ``cat NAME.xz.* | xz -d > NAME``.

Training runs in bfloat16 with weights in float32, channels last, compiled; measurements run in
float32 with TF32 off. A small network does not fill an accelerator: give each model a process of
its own (see ``--stages`` and ``--model``).
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from paper_run import Run
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.models import save_ann
from snntorch_ecl.nn._threshold_clip import clips_of
from snntorch_ecl.settings import DataConfig, ExperimentConfig, TrainConfig
from snntorch_ecl.training import Teacher
from snntorch_ecl.training._device_loop import DeviceLoop
from snntorch_ecl.training._time_budget import losses_of_epoch, train_within

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
NEURONS = {
    "dual threshold, θ/2": {},
    "IF, θ/2": {"negative_threshold": float("-inf")},
    "dual threshold, 0": {"initial_membrane": 0.0},
    "IF, 0": {"initial_membrane": 0.0, "negative_threshold": float("-inf")},
}
FIRST = next(iter(NEURONS))


class AtSteps(nn.Module):
    """A spiking network at a fixed T, as a function of its images."""

    def __init__(self, snn: ecl.SpikingNetwork, num_steps: int) -> None:
        super().__init__()
        self.snn, self.num_steps = snn, num_steps

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.snn(images, num_steps=self.num_steps)
        return logits


def learn(run: Run, loop: DeviceLoop, name: str, seconds: float, most: int) -> dict[str, Any]:
    """Epochs until the time or ``most`` is used up; goes on from ``name.ckpt``."""
    file, every = run.folder / f"{name}.ckpt", run.given.save_every
    curve = train_within(loop, file, seconds=seconds, epochs=most, save_every=every)
    return {
        "epochs": len(curve),
        "taken back": int(curve[-1]["taken back"]),
        "epoch s": statistics.median(point["seconds"] for point in curve),
        "compiled": loop.compiles,
        "same gradients": loop.same_gradients,
        "curve": curve,
    }


def relu_vs_clip(run: Run, seconds: float) -> dict[str, Any]:
    """The same run with ReLU and with clips, compiled and not, at a high rate."""
    begin, found = time.monotonic(), {}
    kinds = [(levels, fast) for fast in (True, False) for levels in ("relu", run.given.levels)]
    for number, (levels, fast) in enumerate(kinds):
        if fast and not run.given.compile:
            continue
        config = run.config(lr=0.4, compile=fast)
        loop = DeviceLoop(run.network(levels), run.train, config, warmup=run.given.compare // 3)
        ends = begin + seconds * (number + 1) / len(kinds)
        losses: list[float] = []
        started = time.monotonic()
        while len(losses) < run.given.compare and (not losses or time.monotonic() < ends):
            losses += [round(value, 4) for value in losses_of_epoch(loop, len(losses), 0.0, 0.0)]
        last = losses[-len(losses) // 5 :]
        name = (
            f"{'relu' if levels == 'relu' else f'L = {levels}'}, {'compiled' if fast else 'eager'}"
        )
        found[name] = {
            "loss": statistics.fmean(last),
            "diverged": not (np.isfinite(losses).all() and statistics.fmean(last) < math.log(10)),
            "seconds": time.monotonic() - started,
            "same gradients": loop.same_gradients,
            "losses": losses,
            "thresholds": [
                float(clip.threshold.detach().mean()) for clip in clips_of(loop.model).values()
            ],
        }
        run.note("relu-vs-clip", found, done=False)
    return found


def train(run: Run, seconds: float) -> dict[str, Any]:
    given = run.given
    name = "relu-vs-clip"
    compared = run.results.get(name) or run.results.get(f"{name}, so far") or {}
    unsafe = any(row["diverged"] for row in compared.values() if isinstance(row, dict))
    lr = given.lr or (0.1 if unsafe else 0.2)
    config = run.config(lr=lr, label_smoothing=given.label_smoothing)
    net = run.network(given.levels, given.start)
    warmup = 5 * (len(run.train) // given.batch_size)
    teacher = Teacher(run.stored(given.teacher)) if given.teacher else None
    loop = DeviceLoop(net, run.train, config, teacher=teacher, warmup=warmup)
    found = {"lr": lr, **learn(run, loop, "train", seconds, given.epochs)}
    run.shrink(net)
    net.to(memory_format=torch.contiguous_format)
    run.renorm(net)
    found["accuracy"] = run.accuracy(net)
    relu = given.levels == "relu"
    settings = ExperimentConfig(
        model=given.model,
        levels=None if relu else int(given.levels),
        relu=relu,
        data=DataConfig(name="cifar10", root=str(given.data), cutout=given.cutout),
        train=TrainConfig(**{**vars(config), "epochs": found["epochs"]}),
        seed=given.seed,
    )
    figures = {name: found[name] for name in ("epochs", "accuracy", "lr")}
    path = run.folder / "ann.safetensors"
    run.pack(save_ann(path, net.cpu(), settings, classes=CLASSES, figures=figures))
    return found


def trained(run: Run) -> nn.Module:
    return run.stored(run.folder / "ann.safetensors")


def table(
    run: Run, seconds: float, num_steps: int = 8, images: int | None = None
) -> dict[str, Any]:
    """All neurons on the one checkpoint; the first is measured against its ANN."""
    ann, found = trained(run), {}
    for number, (name, settings) in enumerate(NEURONS.items()):
        snn = ecl.convert(ann, **settings)
        reference = ann if number == 0 else None
        found[name] = run.measure(snn, num_steps, reference, images)
        run.note(f"up to T = {num_steps}", found, done=False)
    return found


def long(run: Run, seconds: float) -> dict[str, Any]:
    """As many images as fit, by what the first 500 take."""
    snn = ecl.convert(trained(run))
    first = run.measure(snn, 32, images=500)["seconds"]
    fit = int(max(0.0, seconds - first) / (len(NEURONS) * max(first, 1e-3)))
    return table(run, seconds, 32, max(500, min(len(run.test), 500 * fit)))


def finetune(run: Run, seconds: float, num_steps: int) -> dict[str, Any]:
    """The spiking network learns on at one T."""
    ann = trained(run)
    snn = ecl.convert(ann, spike_grad=ecl.surrogate.triangular(), fold_batchnorms=False)
    begin = run.folder / "finetune-t2.ckpt"
    if num_steps == 1 and "finetune-t2" in run.results and begin.is_file():
        weights = torch.load(begin, map_location=run.device, weights_only=True)["loop"]["model"]
        snn.load_state_dict({name.removeprefix("snn."): value for name, value in weights.items()})
    net = AtSteps(snn, num_steps)
    teacher = Teacher(run.stored(run.given.teacher) if run.given.teacher else ann)
    # One spike or none is the largest change: weights have a longer way to go.
    lr = run.given.tune_lr * (2 if num_steps == 1 else 1)
    config = run.config(lr=lr, gradient_clip=1.0)
    loop = DeviceLoop(net, run.train, config, teacher=teacher)
    name = f"finetune-t{num_steps}"
    after = 1.5 * run.results.get("table", {}).get(FIRST, {}).get("seconds", 0.0)  # to measure it
    found = learn(run, loop, name, seconds - after, run.given.tune_epochs)
    run.shrink(net)
    net.to(memory_format=torch.contiguous_format)
    run.renorm(net)
    folded = copy.deepcopy(snn).fold_batchnorms()
    found["SNN"] = run.measure(folded, 8, trained(run))
    figures = {"num_steps": num_steps, "accuracy": found["SNN"]["accuracy"]}
    path = run.folder / f"snn-t{num_steps}.safetensors"
    run.pack(snn.eval().cpu().save(path, figures=figures))
    return found


STAGES: dict[str, Callable[[Run, float], dict[str, Any]]] = {
    "relu-vs-clip": relu_vs_clip,
    "train": train,
    "table": table,
    "finetune-t2": lambda run, seconds: finetune(run, seconds, 2),
    "finetune-t1": lambda run, seconds: finetune(run, seconds, 1),
    "finetune-t4": lambda run, seconds: finetune(run, seconds, 4),
    "long": long,
}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with cifar10_{train,test}.npz")
    add("--output-dir", type=Path, required=True)
    add("--seconds", type=float, default=560.0, help="for everything, measurements included")
    add("--model", default="resnet18", help="resnet18, vgg16, resnet20, …")
    add("--levels", default="4", help="L, or relu for the network without clips")
    add("--start", type=Path, help="network to begin from: an ann.safetensors of the same model")
    add("--teacher", type=Path, help="network whose answers are learned, an ann.safetensors")
    add("--stages", default="train,table,finetune-t2,finetune-t1,long")
    add("--epochs", type=int, default=300, help="of the training, at most")
    add("--tune-epochs", type=int, default=60, help="of each fine-tuning, at most")
    add("--batch-size", type=int, default=512)
    add("--lr", type=float, help="default: 0.2, or 0.1 if relu-vs-clip diverged")
    add("--tune-lr", type=float, default=0.05, help="of fine-tuning; T = 1 takes twice as much")
    add("--label-smoothing", type=float, default=0.1)
    add("--augment", choices=["trivial", "none"], default="trivial", help="beside crop and flip")
    add("--cutout", type=int, default=8)
    add("--compare", type=int, default=600, help="steps of relu-vs-clip")
    add("--images", type=int, help="few of each split, for a rehearsal")
    add("--device")
    add("--compile", action=argparse.BooleanOptionalAction, default=True)
    add("--save-every", type=float, default=30.0, help="seconds between checkpoints")
    add("--seed", type=int, default=0)
    given = parser.parse_args()
    given.stages = given.stages.split(",")
    unknown = [name for name in given.stages if name not in STAGES]
    if unknown:
        parser.error(f"unknown stages {unknown}; there are {', '.join(STAGES)}")
    return given


def main() -> None:
    run = Run(parsed())
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = run.on_gpu
    for stage in run.given.stages:
        if stage in run.results:
            continue
        if run.left() <= 0 and stage != "train":
            run.note(stage, "left out: no time", done=False)
            continue
        torch.compiler.reset()  # what other stages compiled counts against its limits
        begin = time.monotonic()
        found = STAGES[stage](run, run.share(stage))
        run.note(stage, {"stage s": round(time.monotonic() - begin, 1), **found})
    for writer in run.writers:
        writer.join()


if __name__ == "__main__":
    main()
