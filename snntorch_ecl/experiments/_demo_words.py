"""Words of the demo's report that do not depend on what was measured."""

from __future__ import annotations

LAYERS = {
    "stage1.2": "12 × 28 × 28",
    "stage1.5": "12 × 28 × 28",
    "stage2.2": "24 × 14 × 14",
    "stage2.5": "24 × 14 × 14",
    "stage3.2": "32 × 7 × 7",
    "stage3.5": "32 × 7 × 7",
}
"""Channels and size of the spiking layers of ``DigitNet``, by name, in order."""

WHY_BELOW = (
    "At T = 2, say, the mean output of a neuron is 0, ½ or 1 times its threshold: the levels "
    "between are lost."
)


def layer_name(name: str) -> str:
    """A layer's place in the network, in place of its name in the code."""
    return f"conv {1 + list(LAYERS).index(name)}" if name in LAYERS else name


_CONVERT = """\
import torch
import snntorch_ecl as ecl

model = torch.nn.Sequential(  # yours: with ReLU, trained
    torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(),
    torch.nn.Flatten(), torch.nn.Linear(8 * 26 * 26, 10))
images, labels = torch.rand(32, 1, 28, 28), torch.arange(32) % 10
loader = [(images, labels)]   # your data, batch by batch

ann = ecl.calibrate(ecl.prepare(model), loader, num_steps=8)
snn = ecl.convert(ann)
print(ecl.evaluate(snn, loader, num_steps=8, ann=model))"""

_TRAIN = """\
ann = ecl.prepare(model, levels=8)
ann.train()(images)    # your training loop; the first batch starts the thresholds
snn = ecl.convert(ann)
logits = snn(images, num_steps=8)"""

_LOAD = """\
from snntorch_ecl.models import DigitNet

snn = ecl.load("network.safetensors", DigitNet())  # the file beside this page
logits = snn(torch.rand(1, 1, 28, 28), num_steps=8)"""

NEXT = (
    ("Convert a network that is trained already. A few hundred images without labels are "
     "enough to choose its thresholds.", _CONVERT),
    ("For fewer steps, train (or go on training) with clipped activations, as this demo did, and "
     "run at T = L.", _TRAIN),
    ("For T = 1 or 2, fine-tune the spiking network itself: snntorch-ecl finetune. The spiking "
     "network digitnet-digits-l4-t2 that ships with the package was made this way: 97.5 % at "
     "T = 2, where plain conversion had 85.1 %.", ""),
    ("Load the network that this demo saved:", _LOAD),
    ("If accuracy is bad, ecl.verify(snn, model, loader, num_steps=8) names the layer where it is "
     "lost.", ""),
)  # fmt: skip
"""What a reader can do with their own network: paragraphs with code that runs."""
