"""Time of a converted vision transformer of ViT-Tiny's size, as a multiple of T times its ANN's.

In plain code, and with the neurons' loops compiled (``snn.compile()`` and ``piece=T``: the whole
network in one graph takes minutes to compile).

python benchmarks/vit_time.py    one thread, batches of 4, the best of 3 runs each; needs no data
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torchvision.models import VisionTransformer

import snntorch_ecl as ecl

STEPS, RUNS = (1, 2, 4), 3


def best(run: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs."""
    found = []
    for _ in range(RUNS):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return min(found)


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
        once = best(lambda: vit(images))
        for how, compiled in (("plain code", False), ("neurons compiled", True)):
            snn.compile(compiled, progress=False)
            for steps in STEPS:
                snn(images, num_steps=steps, piece=steps)  # what is to be compiled is, here
                taken = best(lambda steps=steps: snn(images, num_steps=steps, piece=steps))
                ratio = taken / once
                print(f"{how}, T = {steps}: {ratio:.2f} × the ANN, {ratio / steps:.2f} × T × it")


if __name__ == "__main__":
    main()
