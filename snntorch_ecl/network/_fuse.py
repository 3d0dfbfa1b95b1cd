"""Compile what this library adds to a network, before conversion and after."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from .._util.compiler import works_on
from .._util.devices import device_of
from .._util.torch_internals import compile_once, uncompile
from ..errors import NotPreparedError
from ..nn._threshold_clip import ThresholdClip
from ._network import SpikingNetwork
from ._pieces import teach_allocator

Network = TypeVar("Network", bound=nn.Module)


def fuse(network: Network, fused: bool = True) -> Network:
    """Train a prepared network in the time and memory of its ReLU original; the maths is the same.

    The network is compiled in place (``network.compile()``): each
    :class:`~snntorch_ecl.ThresholdClip` becomes part of the loops around it, and its output is
    computed again in the backward pass rather than kept for it. That takes a minute at the first
    batch after all thresholds are set. Where nothing can be compiled a warning says so, and all
    goes on as before. Copies are not compiled: fuse them too.

    A spiking network is taken too: see :meth:`~snntorch_ecl.SpikingNetwork.fuse`.

    Args:
        network: What ``prepare`` returned (or ``convert``). It is changed in place.
        fused: False goes back to the network as it was.

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
    if not fused:
        uncompile(network)
    elif works_on(device_of(network).type):
        # A first batch, which starts thresholds, looks at values: no graph could hold it.
        compile_once(network, lambda: all(clip.is_set for clip in clips))
        teach_allocator()
    return network
