"""Compile what this library adds to a network, before conversion and after."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from .activation import ThresholdClip
from .errors import NotPreparedError
from .network import SpikingNetwork
from .pieces import teach_allocator
from .recompute import start_recomputing

__all__ = ["fuse"]

Network = TypeVar("Network", bound=nn.Module)


def fuse(network: Network, fused: bool = True) -> Network:
    """Train a prepared network in the time and memory of its ReLU original; the maths is the same.

    Each :class:`~snntorch_ecl.ThresholdClip` runs as one compiled loop, and what the layers behind
    it keep of its output for the backward pass is computed again there. The first batch takes some
    seconds longer. Where nothing can be compiled a warning says so, and all goes on as before. A
    network that ``torch.compile`` takes as a whole has its own loops; there it saves memory.

    A spiking network is taken too: see :meth:`~snntorch_ecl.SpikingNetwork.fuse`.

    Args:
        network: What ``prepare`` returned (or ``convert``). It is changed in place.
        fused: False goes back to plain operations.

    Returns:
        The network itself.

    Raises:
        NotPreparedError: There is no ThresholdClip in it.

    Example:
        >>> import torch, snntorch_ecl as ecl
        >>> ann = ecl.prepare(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)))
        >>> loss = ecl.fuse(ann).train()(torch.rand(32, 8)).sum()
        >>> loss.backward()
    """
    if isinstance(network, SpikingNetwork):
        network.fuse(fused)
        return network
    clips = [module for module in network.modules() if isinstance(module, ThresholdClip)]
    if not clips:
        raise NotPreparedError(
            f"{type(network).__name__} has no ThresholdClip: call prepare(model) first"
        )
    for clip in clips:
        clip.fused = fused
    if fused:
        start_recomputing(network)
        teach_allocator()
    return network
