"""Time of a converted vision transformer of ViT-Tiny's size, as a multiple of T times its ANN's.

In plain code, and with the neurons' loops compiled (``snn.compile(whole=False)``: the whole network
in one graph takes minutes to compile).

python benchmarks/vit_time.py    one thread, batches of 4; needs no data

Ratios of medians of rounds in which the ANN and the spiking network take turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torchvision.models import VisionTransformer

import snntorch_ecl as ecl

STEPS, ROUNDS = (1, 2, 4), 9


def seconds(run: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    """Print a line for each T."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vit = VisionTransformer(224, 16, 12, 3, 192, 768, num_classes=100).eval()
    images = torch.randn(4, 3, 224, 224)
    with torch.inference_mode():
        ann = ecl.prepare(vit, signed=True, levels=2, example=images)
        ann = ecl.calibrate(ann, [images], progress=False)
        snn = ecl.convert(ann)
        for how, compiled in (("plain code", False), ("neurons compiled", True)):
            snn.compile(compiled, whole=False)
            for steps in STEPS:
                run = partial(snn, images, num_steps=steps)
                run()  # what is to be compiled is, here
                rounds = [(seconds(run), seconds(lambda: vit(images))) for _ in range(ROUNDS)]
                taken, once = (statistics.median(column) for column in zip(*rounds, strict=True))
                ratio = taken / once
                print(f"{how}, T = {steps}: {ratio:.2f} × the ANN, {ratio / steps:.2f} × T × it")


if __name__ == "__main__":
    main()
