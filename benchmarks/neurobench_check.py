r"""``ecl.energy`` against NeuroBench's synaptic operations, layer by layer, on the same images.

    python benchmarks/neurobench_check.py
    python benchmarks/neurobench_check.py --data-root cifar10-folder --images 200

It needs an environment with neurobench 2.3. Exits with 1 if a count that is defined alike differs.
What is defined otherwise is brought to the same quantity, or left out, by name:

* What comes before the first neuron NeuroBench runs at every step, and leaves out pixels that are
  zero; ``energy`` counts all of it, once. Compared: NeuroBench's dense count, divided by T.
* NeuroBench does not know ``Scale``, which ``energy`` counts as one addition a spike. Left out.
* NeuroBench leaves out weights that are zero. How many there are is printed.
* What is pooled by averages multiplies in both, at every step. NeuroBench takes a step's values
  for spikes if all are −1, 0 or +1; ``energy`` all steps' values if each channel knows one size.

Biases and zero padding count in neither.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics.workload import SynapticOperations
from neurobench.models import SNNTorchModel
from torch import Tensor, nn
from torch.fx import Node
from torch.utils.data import DataLoader, TensorDataset

import snntorch_ecl as ecl
from snntorch_ecl._util.tables import render, table
from snntorch_ecl.experiments import load_data
from snntorch_ecl.hardware._neurobench import NeuroBenchNet
from snntorch_ecl.nn._scale import Scale

NAME = "resnet20-cifar10-l4"
WEIGHTED = (nn.Linear, nn.Conv2d)
"""Layers with synapses of the networks below; ``Scale`` aside, which NeuroBench does not know."""


class Small(nn.Module):
    """What counting can get wrong: strides, groups, biases, additions, both kinds of pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.grouped = nn.Conv2d(8, 8, 5, padding=2, groups=4)
        self.wide = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.pooled = nn.Conv2d(8, 16, 3, padding=1)
        self.average, self.largest = nn.AvgPool2d(2), nn.MaxPool2d(3, stride=2, padding=1)
        self.head = nn.Linear(16 * 2 * 2, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.grouped(x) + x)
        x = torch.relu(self.wide(self.largest(x)))
        x = torch.relu(self.pooled(self.average(x)))
        return self.head(self.largest(x).flatten(1))


@dataclass(frozen=True)
class Counts:
    """NeuroBench's counts of one layer, for one image."""

    acs: float
    macs: float
    dense: float


class EachLayer(SynapticOperations):
    """NeuroBench's metric, on one layer at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics: dict[nn.Module, SynapticOperations] = {}

    def reset(self) -> None:
        self.metrics = {}

    def __call__(self, model: SNNTorchModel, preds: Tensor, data: Any) -> dict[nn.Module, Counts]:
        for hook in model.connection_hooks:
            alone = argparse.Namespace(connection_hooks=[hook])
            self.metrics.setdefault(hook.layer, SynapticOperations())(alone, preds, data)
        return self.compute()

    def compute(self) -> dict[nn.Module, Counts]:
        found = {layer: metric.compute() for layer, metric in self.metrics.items()}
        return {
            layer: Counts(each["Effective_ACs"], each["Effective_MACs"], each["Dense"])
            for layer, each in found.items()
        }


def neurobench(
    snn: ecl.SpikingNetwork, images: Tensor, num_steps: int, batch: int
) -> tuple[Counts, dict[str, Counts]]:
    """NeuroBench's counts: of the whole network, and by layer."""

    def at_every_step(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, labels = data
        return x.unsqueeze(1).expand(-1, num_steps, -1, -1, -1), labels

    data = TensorDataset(images, torch.zeros(len(images)))  # the counts need no labels
    # Not quiet: NeuroBench prints a metric's error instead of raising it.
    results = Benchmark(
        SNNTorchModel(NeuroBenchNet(snn)), DataLoader(data, batch_size=batch),
        [at_every_step], [], [[], [SynapticOperations, EachLayer]],
    ).run()  # fmt: skip
    total, layers = results["SynapticOperations"], results["EachLayer"]
    names = {module: name for name, module in snn.net.named_modules()}
    return (
        Counts(total["Effective_ACs"], total["Effective_MACs"], total["Dense"]),
        {names[layer]: counts for layer, counts in layers.items()},
    )


def exact_batch(snn: ecl.SpikingNetwork, images: Tensor) -> int:
    """Images a batch: NeuroBench adds up in float32, which is exact up to 2²⁴."""
    one = ecl.energy(snn, images[:1].split(1), num_steps=1, progress=False)
    return max(1, int(2**24 / max(layer.ann_macs for layer in one.layers)))


def compare(title: str, snn: ecl.SpikingNetwork, images: Tensor, num_steps: int) -> bool:
    """Print both counts; whether what is defined alike is equal."""
    batch = exact_batch(snn, images)
    whole, theirs = neurobench(snn, images, num_steps, batch)
    ours = ecl.energy(snn, images.split(batch), num_steps=num_steps, progress=False)
    scales = sum(layer.acs for layer in ours.layers if layer.kind == Scale.__name__)
    additions = ours.total("acs") - scales
    rows = list(alike(snn, ours, theirs))
    shown = [(name, *(f"{cell:,.1f}" for cell in (*cells, _gap(*cells)))) for name, *cells in rows]
    last = (f"{cell:,.1f}" for cell in (whole.acs, additions))
    shown.append(("all", *last, "", "", f"{abs(whole.acs - additions):,.1f}"))
    heading = f"{title}, T = {num_steps}: one image, mean over {len(images)}"
    columns = ("layer", "ACs: NeuroBench", "energy", "MACs: NeuroBench", "energy", "difference")
    note = (
        f"MACs before the first neuron: of one step, dense (all layers at all steps, effective: "
        f"{whole.macs:,.1f}). ACs of Scale layers, in energy alone: {scales:,.1f}. "
        f"Weights that are zero: {_zeros(snn)}."
    )
    print(render(table(heading, columns, shown, note=note)))
    dense = [(theirs[layer.name].dense, layer.ann_macs * num_steps)
             for layer in ours.layers if layer.name in theirs]  # fmt: skip
    pairs = [pair for _, *cells in rows for pair in zip(cells[::2], cells[1::2], strict=True)]
    # All are sums of whole numbers, divided by the number of images.
    return all(
        math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
        for a, b in [(whole.acs, additions), *dense, *pairs]
    )


def alike(
    snn: ecl.SpikingNetwork, ours: ecl.Energy, theirs: dict[str, Counts]
) -> Iterator[tuple[str, float, float, float, float]]:
    """Layers with what is defined alike: name, ACs and MACs, each NeuroBench's first."""
    behind = _after_neurons(snn)
    for layer in ours.layers:
        module = snn.net.get_submodule(layer.name)
        if isinstance(module, WEIGHTED):
            their = theirs[layer.name]
            macs = their.macs if layer.name in behind else their.dense / ours.num_steps
            yield layer.name, their.acs, layer.acs, macs, layer.macs


def _after_neurons(snn: ecl.SpikingNetwork) -> set[str]:
    """Layers that run at every step: those with state, and what reads them."""
    timed: set[Node] = set()
    for node in snn.net.graph.nodes:
        of_module = node.op == "call_module"
        stateful = of_module and isinstance(snn.net.get_submodule(str(node.target)), ecl.Temporal)
        if stateful or any(source in timed for source in node.all_input_nodes):
            timed.add(node)
    return {str(node.target) for node in timed}


def _gap(acs: float, our_acs: float, macs: float, our_macs: float) -> float:
    return abs(acs - our_acs) + abs(macs - our_macs)


def _zeros(snn: ecl.SpikingNetwork) -> int:
    weights = (module.weight for module in snn.modules() if isinstance(module, WEIGHTED))
    return sum(int((weight == 0).sum()) for weight in weights)


def small(images: Tensor) -> ecl.SpikingNetwork:
    """The small network, its weights random and its thresholds calibrated."""
    torch.manual_seed(0)
    ann = ecl.calibrate(ecl.prepare(Small().eval()), images.split(25), num_steps=4, progress=False)
    return ecl.convert(ann, unit_spikes=True)


def pretrained_images(checkpoint: Any, root: str | None, count: int) -> Tensor:
    """Test images spread evenly over the data, or smooth random ones of the same size."""
    if root is None:
        generator = torch.Generator().manual_seed(0)
        coarse = torch.randn(count, 3, 5, 5, generator=generator)
        size = [checkpoint.config.data.image_size] * 2
        return nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=True)
    config = replace(checkpoint.config.data, root=root)
    test = load_data(config)[0].test
    return torch.stack([test[i * len(test) // count][0] for i in range(count)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", help="CIFAR-10 as a folder; else smooth random images")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--steps", type=int, default=4, help="T")
    arguments = parser.parse_args()
    checkpoint = ecl.models.load_pretrained(NAME)
    images = pretrained_images(checkpoint, arguments.data_root, arguments.images)
    resnet = ecl.convert(checkpoint.ann, unit_spikes=True)
    tried = (("small network", small(images)), (NAME, resnet))
    equal = [compare(title, snn, images, arguments.steps) for title, snn in tried]
    print("The counts are equal." if all(equal) else "The counts DIFFER.")
    sys.exit(not all(equal))


if __name__ == "__main__":
    main()
