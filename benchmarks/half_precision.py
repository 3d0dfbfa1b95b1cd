"""Accuracy of a shipped network in half precision, beside what tiny noise on its weights does.

    python benchmarks/half_precision.py --data FOLDER [--images 9979]

``FOLDER`` holds ``cifar10_test.npz``, as for paper.py. Levels are steps: a value at the border of
two levels may fall on either side, whatever the precision. So half precision is compared in pairs,
image by image, with single precision, and so is single precision with weights that differ by 1e-5.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import snntorch_ecl as ecl

BATCH = 50
NOISE = 1e-5


def noisy(snn: ecl.SpikingNetwork) -> ecl.SpikingNetwork:
    """A copy whose weights are multiplied by 1 + 1e-5 · N(0, 1); thresholds stay."""
    twin = copy.deepcopy(snn)
    random = torch.Generator().manual_seed(0)
    for name, parameter in twin.named_parameters():
        if "threshold" not in name:
            factor = 1 + NOISE * torch.randn(parameter.shape, generator=random)
            parameter.data.mul_(factor)
    return twin


@torch.no_grad()
def classes(snn: ecl.SpikingNetwork, images: Tensor, num_steps: int) -> Tensor:
    """The class of each image."""
    dtype = next(snn.parameters()).dtype
    groups = images.to(dtype).split(BATCH)
    return torch.cat([snn(group, num_steps=num_steps).argmax(1) for group in groups])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10_test.npz")
    parser.add_argument("--images", type=int, default=9979)
    parser.add_argument("-T", type=int, default=4)
    asked = parser.parse_args()
    checkpoint = ecl.models.load_pretrained("resnet20-cifar10-l4")
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1)
        for values in (checkpoint.config.data.mean, checkpoint.config.data.std)
    )
    with np.load(asked.data / "cifar10_test.npz") as file:
        images = (torch.from_numpy(file["x"][: asked.images]).float() / 255 - mean) / std
        labels = torch.from_numpy(file["y"][: asked.images]).long()
    single = ecl.convert(checkpoint.ann)
    reference = classes(single, images, asked.T)
    right = (reference == labels).float()
    print(f"float32: {100 * right.mean():.2f} %")
    others = {
        "bfloat16": copy.deepcopy(single).bfloat16(),
        "float16": copy.deepcopy(single).half(),
        f"float32, weights × (1 + {NOISE:g} · N(0, 1))": noisy(single),
    }
    for name, snn in others.items():
        found = classes(snn, images, asked.T)
        more = (found == labels).float() - right
        print(
            f"{name}: {100 * (right + more).mean():.2f} %, {100 * more.mean():+.2f} ± "
            f"{100 * more.std() / len(more) ** 0.5:.2f}; same class on "
            f"{100 * (found == reference).float().mean():.1f} % of the images",
            flush=True,
        )


if __name__ == "__main__":
    main()
