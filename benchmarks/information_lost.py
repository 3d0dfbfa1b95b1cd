r"""What the spikes of T steps tell of each layer's activation, and what they lose.

    python benchmarks/information_lost.py --checkpoint ann.safetensors --tuned runs/tuned -T 1

For each neuron layer, over test images: the share of the variance of the clipped mean current that
the mean of the spikes it caused leaves open, whatever linear reading follows (1 − r²). 0: the next
layer can learn all; 1: nothing. One step tells one bit.
Beside it, the same for the ANN's L levels on the same activations.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader

from snntorch_ecl import functional as F
from snntorch_ecl._util.processes import Place
from snntorch_ecl._util.tables import table
from snntorch_ecl.experiments import MeasureConfig
from snntorch_ecl.experiments._measure import open_checkpoint
from snntorch_ecl.functional._channels import over_channels


class Lost:
    """Sums of one layer, filled by a forward hook."""

    def __init__(self, num_steps: int, levels: int | None) -> None:
        self.num_steps = num_steps
        self.levels = levels
        self.count = 0
        self.moments = torch.zeros(2, 5, dtype=torch.float64)

    def __call__(self, neuron: nn.Module, args: tuple[Any, ...], spikes: Tensor) -> None:
        shape = (self.num_steps, -1, *spikes.shape[1:])
        current: Tensor = args[0]
        # A current that is the same at all steps comes once.
        mean = current.view(shape).mean(0) if len(current) == len(spikes) else current
        theta = over_channels(neuron.threshold.detach(), mean)
        passed = torch.minimum(mean.clamp_min(0), theta).double()
        told = spikes.view(shape).mean(0).double()
        levelled = F.threshold_clip(mean, theta, self.levels).double()
        for row, read in zip(self.moments, (told, levelled), strict=True):
            parts = (passed, read, passed.square(), read.square(), passed * read)
            row += torch.stack([part.sum() for part in parts])
        self.count += passed.numel()

    def shares(self) -> tuple[float, float]:
        """Lost by the spikes, and by L levels."""
        found = []
        for x, y, xx, yy, xy in (self.moments / self.count).tolist():
            spread = (xx - x * x) * (yy - y * y)
            found.append(1 - (xy - x * y) ** 2 / spread if spread > 0 else 1.0)
        return found[0], found[1]


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description="What T steps lose of each layer's activation.")
    parser.add_argument("--checkpoint", required=True, help="The ANN, ann.safetensors.")
    parser.add_argument("--tuned", help="Folder of a fine-tuning of it; default: converted.")
    parser.add_argument("--data-root")
    parser.add_argument("-T", "--num-steps", type=int, default=1)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--output", type=Path, help="JSON to write.")
    given = parser.parse_args()
    config = MeasureConfig(
        checkpoint=given.checkpoint,
        tuned=given.tuned,
        data_root=given.data_root,
        images=given.images,
    )
    opened = open_checkpoint(config, Place(0, 1))
    snn = opened.snn
    watched = {layer.name: Lost(given.num_steps, layer.levels) for layer in snn.layers}
    for name, lost in watched.items():
        snn.neurons[name].register_forward_hook(lost)
    right = seen = 0
    for images, labels in DataLoader(opened.test, 50):
        right += int((snn(images, num_steps=given.num_steps).argmax(1) == labels).sum())
        seen += len(labels)
    shares = {name: layer.shares() for name, layer in watched.items()}
    title = f"T = {given.num_steps}: {right / seen:.1%} of {seen} images right"
    rows = [(name, f"{spikes:.1%}", f"{own:.1%}") for name, (spikes, own) in shares.items()]
    Console().print(table(title, ("layer", "lost by spikes", "by its own levels"), rows))
    if given.output:
        given.output.write_text(json.dumps(shares, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
