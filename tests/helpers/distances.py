"""Small networks and images of fixed seeds, and how far conversion takes them from the ANN."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import snntorch_ecl as ecl


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return build().eval()


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def distance_at(net: nn.Module, x: Tensor, num_steps: int, **options: Any) -> float:
    """Of the spiking network's output from the ANN's, which no threshold clips."""
    snn = ecl.convert(ecl.calibrate(ecl.prepare(net), [x], method="max"), **options)
    with torch.no_grad():
        wanted = net(x)
        return float((snn(x, num_steps=num_steps) - wanted).norm() / wanted.norm())
