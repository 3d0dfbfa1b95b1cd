"""Currents whose spikes are known to the bit, and the oracle's spikes for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snntorch_ecl import DualThreshold
from tests.helpers import oracles


def dyadic(*shape: int, seed: int = 0, low: int = -24, high: int = 25) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, shape, generator=generator) / 16


def oracle_spikes(currents: Tensor, threshold: float = 1.0) -> Tensor:
    """[T, ...] currents through one oracle neuron each."""
    columns = currents.flatten(1).T.tolist()
    spikes = [oracles.DualThresholdNeuron(threshold).run(column) for column in columns]
    return torch.tensor(spikes, dtype=currents.dtype).T.reshape(currents.shape)


def hidden(**settings) -> DualThreshold:
    return DualThreshold(init_hidden=True, **settings)


def run(neuron: nn.Module, currents: Tensor) -> Tensor:
    return torch.stack([neuron(current) for current in currents])


CURRENTS = dyadic(8, 3, 4)
SPIKES = oracle_spikes(CURRENTS)
