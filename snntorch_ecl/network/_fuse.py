"""Compile what this library adds to a network, before conversion and after."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from .._util.compiler import works_on
from .._util.devices import device_of
from .._util.torch_internals import uncompile
from ..errors import NotPreparedError
from ..nn._threshold_clip import ThresholdClip
from ._network import SpikingNetwork
from ._pieces import teach_allocator

Network = TypeVar("Network", bound=nn.Module)


def fuse(network: Network, fused: bool = True) -> Network:
    """Train a prepared network in the time and memory of its ReLU original; the maths is the same.

    The network is compiled in place (``network.compile()``): each :class:`~snntorch_ecl.ThresholdClip`
    becomes part of the loops around it, and its output is computed again in the backward pass
    rather than kept for it. The first batch takes a minute longer. Where nothing can be compiled a
    warning says so, and all goes on as before. Copies are not compiled: fuse them too.

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
    if not any(isinstance(module, ThresholdClip) for module in network.modules()):
        raise NotPreparedError(
            f"{type(network).__name__} has no ThresholdClip: call prepare(model) first"
        )
    if not fused:
        uncompile(network)
    elif works_on(device_of(network).type):
        network.compile()
        teach_allocator()
    return network
