"""Networks and labelled images to evaluate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.measurement._evaluate import Evaluation
from tests.helpers.nets import BY_NAME, Net
from tests.helpers.parts import clips_of

T = 5


def data(net: Net, sizes: tuple[int, ...] = (6,)) -> list[tuple[Tensor, Tensor]]:
    (images,) = net.inputs(sum(sizes), seed=3)
    labels = torch.arange(sum(sizes)) % 3
    return list(zip(images.split(sizes), labels.split(sizes), strict=True))


def made(name: str) -> tuple[Net, nn.Module, ecl.SpikingNetwork]:
    """Thresholds low enough that the layers clip, so that errors and negative spikes occur."""
    net = BY_NAME[name]
    ann = net.prepared(levels=4)
    for clip in clips_of(ann).values():
        clip.threshold = 0.5 * clip.threshold.item()
    return net, ann, ecl.convert(ann)


def run(snn: ecl.SpikingNetwork, batches: Any, ann: nn.Module | None = None) -> Evaluation:
    return ecl.evaluate(snn, batches, num_steps=T, ann=ann, progress=False)
