"""Small networks to compile."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

import snntorch_ecl as ecl
from snntorch_ecl import SpikingNetwork, ThresholdClip


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.clip = ThresholdClip(4, torch.tensor([0.3, 0.4, 0.5, 0.6]))

    def forward(self, x: Tensor) -> Tensor:
        return self.clip(self.conv(x) + x)


def network(*more: nn.Module, **settings: Any) -> SpikingNetwork:
    torch.manual_seed(0)
    ann = nn.Sequential(
        nn.Conv2d(2, 4, 3), ThresholdClip(4, 0.7), nn.MaxPool2d(2), Residual(), *more,
        nn.Flatten(), nn.Linear(36, 3),
    )  # fmt: skip
    return ecl.convert(ann, **settings).eval()


def small(*more: nn.Module, **settings: Any) -> SpikingNetwork:
    """What takes seconds to compile to machine code; :func:`network` takes a minute."""
    torch.manual_seed(0)
    clip = ThresholdClip(4, torch.tensor([0.5, 0.6, 0.7, 0.8]))
    layers = (nn.Conv2d(2, 4, 3), clip, nn.MaxPool2d(2), *more, nn.Flatten(), nn.Linear(36, 3))
    return ecl.convert(nn.Sequential(*layers), **settings).eval()


def images(count: int = 6, seed: int = 1) -> Tensor:
    return torch.randn(count, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def graphs() -> int:
    return int(counters["stats"]["unique_graphs"])
