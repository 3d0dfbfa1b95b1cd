"""How many networks of timm, torchvision, pytorchcv and smp convert, and come closer with T.

    python benchmarks/coverage.py --library timm --out timm.json

One network of each file of models is taken, the one whose name sounds smallest; with ``--every``
all of them. Nothing is trained: weights are random (seed 0), batch norms have the statistics of
four random images. Where all values of a parameter begin equal, such as scales of 0 that switch a
branch off, they are made random. A network runs in a process of its own, with limits of time and
memory, and what was measured before is kept.

A network counts as *prepared* if ``prepare(model, example=images)`` gives its outputs within 1e-4
of their norm; ``signed=True`` is used where it has no rectifier. It counts as *converted* if
``convert`` takes it and one step runs. With thresholds at the largest values that these images
cause (so that nothing is clipped, and only the spikes are in error), the distance from the ANN's
output, relative to its norm, is measured at T = 8, 32 and 128; it *falls* if each is below the one
before.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import resource
import signal
import time
import traceback
import warnings
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from coverage_networks import LIBRARIES, Build
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import snntorch_ecl as ecl
from snntorch_ecl.errors import EclError, InputError


class TooSlow(BaseException):
    """No ``Exception``: neither the network nor the package is to handle it."""


def built(build: Build, sides: tuple[int, ...]) -> tuple[nn.Module, Tensor]:
    """A network, and two images of the first size that it takes."""
    # Large images are cut down where the network can be built for less.
    tries = [(side, cut) for side in sides for cut in ((True, False) if side > 224 else (False,))]
    for side, cut in tries[:-1]:
        with suppress(Exception):
            return tried(build, side, cut=cut)
    side, cut = tries[-1]
    return tried(build, side, cut=cut)


def tried(build: Build, side: int, *, cut: bool) -> tuple[nn.Module, Tensor]:
    """A network that takes images of this size."""
    torch.manual_seed(0)
    model = build(**({"img_size": side} if cut else {})).eval()
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        copy.deepcopy(model)(images)  # it may keep what it computes from its parameters
    return model, images


@torch.no_grad()
def switch_on(model: nn.Module, images: Tensor) -> None:
    """No scale is 0, and batch norms have seen images."""
    for parameter in model.parameters():
        if parameter.is_floating_point() and bool((parameter == parameter.flatten()[0]).all()):
            if bool(parameter.flatten()[0] > 0):
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(0, 0.1)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    model(torch.cat([images, torch.rand_like(images)]))
    for norm, momentum in zip(norms, before, strict=True):
        norm.eval().momentum = momentum


def difference(found: Any, wanted: Any) -> float:
    """The largest distance of one output from another, relative to its norm."""
    pairs = zip(tree_leaves(found), tree_leaves(wanted), strict=True)
    tensors = [(a, b) for a, b in pairs if isinstance(a, Tensor)]
    return max(float((a - b).norm() / b.norm().clamp_min(1e-12)) for a, b in tensors)


def measure(build: Build, sides: tuple[int, ...], steps: list[int], entry: dict[str, Any]) -> None:
    """Write what comes of one network into an entry, as far as it comes."""
    entry["stage"] = "not built"
    model, images = built(build, sides)
    switch_on(model, images)
    entry.update(stage="refused", side=images.shape[-1])
    with torch.inference_mode():
        wanted = model(images)
    ann = prepared(model, images, entry)
    with torch.inference_mode():
        entry["gap"] = difference(ann(images), wanted)
    del model
    entry["stage"] = "prepared" if entry["gap"] <= 1e-4 else "other outputs"
    if entry["stage"] == "other outputs":
        return
    snn = ecl.convert(with_thresholds(ann, images, entry) if steps else with_ones(ann))
    with torch.inference_mode():
        first = tree_leaves(snn(images, num_steps=1))
    if not all(bool(y.isfinite().all()) for y in first if isinstance(y, Tensor)):
        raise ValueError("outputs are not finite")
    entry["stage"] = "converted"
    if steps:
        closer(snn, ann, images[:1], steps, entry)


def with_thresholds(ann: nn.Module, images: Tensor, entry: dict[str, Any]) -> nn.Module:
    """At the largest values; at 1 where a layer is silent on these images."""
    try:
        return ecl.calibrate(ann, [images], method="max", progress=False)
    except InputError as error:
        entry["silent"] = str(error)[:300]
        return with_ones(ann)


def with_ones(ann: nn.Module) -> nn.Module:
    """With all thresholds at 1."""
    for module in ann.modules():
        if isinstance(module, ecl.ThresholdClip):
            module.threshold = 1.0
    return ann


def closer(
    snn: nn.Module, ann: nn.Module, image: Tensor, steps: list[int], entry: dict[str, Any]
) -> None:
    """How far an image's output is from the ANN's after several numbers of steps."""
    entry["errors"] = {}
    with torch.inference_mode():
        wanted = ann(image)
        for number in steps:
            entry["errors"][number] = difference(snn(image, num_steps=number), wanted)
    found = list(entry["errors"].values())
    entry["falls"] = all(a > b for a, b in pairwise(found))


def prepared(model: nn.Module, images: Tensor, entry: dict[str, Any]) -> nn.Module:
    """The prepared network; with signed clips where it has no rectifier."""
    try:
        return ecl.prepare(model, levels=None, example=images)
    except EclError as error:
        if "it has no ReLU" not in str(error):
            raise
    entry["signed"] = True
    return ecl.prepare(model, levels=None, signed=True, example=images)


def child(build: Build, sides: tuple[int, ...], options: Any, pipe: Any) -> None:
    """Measure one network within a limit of memory; what it found before an error counts."""
    torch.set_num_threads(1)
    limit = int(options.gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    entry: dict[str, Any] = {}

    def stop(*_: Any) -> None:
        raise TooSlow(f"more than {options.seconds:g} s of processor time")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, options.seconds)  # other programs do not count
    try:
        measure(build, sides, options.steps, entry)
    except BaseException as error:
        entry["why"] = f"{type(error).__name__}: {error}"[:2500]
        if not isinstance(error, (EclError, TooSlow)):
            entry["trace"] = traceback.format_exc()[-1500:]
    pipe.send(entry)


def in_a_process(build: Build, sides: tuple[int, ...], options: Any) -> dict[str, Any]:
    """What comes of one network, whatever it does to its process."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(build, sides, options, theirs), daemon=True)
    began = time.monotonic()
    process.start()
    theirs.close()
    entry: dict[str, Any] = {"stage": "killed", "why": "it crashed, or hung"}
    with suppress(EOFError):  # it crashed
        if ours.poll(20 * options.seconds):
            entry = ours.recv()
    process.kill()
    process.join()
    return {**entry, "seconds": round(time.monotonic() - began, 1)}


def lacks_errors(entry: dict[str, Any], steps: list[int]) -> bool:
    """Whether a network converted, but its error is yet to be measured."""
    return bool(steps) and entry["stage"] == "converted" and "falls" not in entry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=LIBRARIES, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", action="store_true", help="every network of each file")
    parser.add_argument("--only", nargs="*", help="these networks, measured again")
    parser.add_argument("--steps", type=int, nargs="*", default=[8, 32, 128], help="none: no error")
    parser.add_argument("--seconds", type=float, default=300, help="of processor time, for each")
    parser.add_argument("--gigabytes", type=float, default=6)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name, build, sides in LIBRARIES[options.library](options.every):
        if options.only is not None and name not in options.only:
            continue
        if options.only is None and name in found and not lacks_errors(found[name], options.steps):
            continue
        found[name] = in_a_process(build, sides, options)
        options.out.write_text(json.dumps(found, indent=1))
        print(name, found[name]["stage"], found[name].get("errors", ""), flush=True)
    stages = [str(entry["stage"]) for entry in found.values()]
    print({stage: stages.count(stage) for stage in sorted(set(stages))}, "of", len(stages))
    print("the error falls in", sum(bool(entry.get("falls")) for entry in found.values()))


if __name__ == "__main__":
    main()
