"""Telling a spiking network from its ANN."""

from __future__ import annotations

from ..errors import ConfigError
from ._network import SpikingNetwork


def check_spiking(network: object) -> None:
    """Raise :class:`ConfigError` unless a network is a spiking one."""
    if not isinstance(getattr(network, "_orig_mod", network), SpikingNetwork):  # compiled
        raise ConfigError(
            "snn must be a SpikingNetwork, what convert returns (ANN and SNN exchanged?); got a "
            f"{type(network).__name__}"
        )
