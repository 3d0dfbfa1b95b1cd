"""From the simulator to a chip: whole numbers, and adapters to other tools."""

from ._integers import IntegerNetwork, to_integers
from ._neurobench import NeuroBenchNet

__all__ = ["IntegerNetwork", "NeuroBenchNet", "to_integers"]
