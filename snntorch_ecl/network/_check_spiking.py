"""Check that a network is a spiking one, not its ANN."""

from __future__ import annotations

from .._util.torch_internals import uncompiled
from ..errors import ConfigError
from ._network import SpikingNetwork


def check_spiking(network: object) -> None:
    """Raise :class:`ConfigError` unless a network, compiled or not, is a spiking one."""
    if not isinstance(uncompiled(network), SpikingNetwork):
        raise ConfigError(
            f"snn must be a SpikingNetwork, as convert returns it; got a {type(network).__name__} "
            "(did you swap ANN and SNN?)"
        )
