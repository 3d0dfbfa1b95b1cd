"""``fuse``: compile what this package adds to a network, before conversion or after."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from .._util.compiler import works_on
from .._util.devices import device_of
from .._util.torch_internals import compile_once, uncompile
from ..errors import NotPreparedError
from ..nn._threshold_clip import clips_of, settled
from ._network import SpikingNetwork
from ._pieces import teach_allocator

Network = TypeVar("Network", bound=nn.Module)


def fuse(network: Network, fused: bool = True) -> Network:
    """Compile a network in place: prepared, it trains about as fast as its ReLU original.

    A prepared network is compiled with ``network.compile()``: each
    :class:`~snntorch_ecl.ThresholdClip` is merged into the loops around it, and its output is
    computed again in the backward pass instead of being saved. So training also takes about the
    memory of the ReLU network. Compiling takes a minute, after the batches that thresholds start
    from (the first 100 in training mode, for thresholds that are not given). If nothing can be
    compiled, a warning says so and the network runs as before. Copies are not compiled: fuse them
    too.

    The gradients of compiled code are not checked here, as the loss is yours: compare a few steps
    with plain code on a new release of torch. ``training.fit`` checks them itself.

    For a spiking network this is :meth:`~snntorch_ecl.SpikingNetwork.fuse`.

    Args:
        network: What ``prepare`` or ``convert`` returned. It is changed in place.
        fused: False goes back to plain code.

    Returns:
        The network itself.

    Raises:
        NotPreparedError: It has no ``ThresholdClip``, and is not a spiking network.

    Example:
        >>> import torch, snntorch_ecl as ecl
        >>> ann = ecl.prepare(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)))
        >>> loss = ecl.fuse(ann).train()(torch.rand(32, 8)).sum()
        >>> loss.backward()
    """
    if isinstance(network, SpikingNetwork):
        network.fuse(fused)
        return network
    if not clips_of(network):
        raise NotPreparedError(
            f"{type(network).__name__} has no ThresholdClip: call prepare(model) first"
        )
    if not fused:
        uncompile(network)
    elif works_on(device_of(network).type):
        # The first batches choose thresholds by their values, which a compiled graph cannot.
        compile_once(network, lambda: settled(network))
        teach_allocator()
    return network
