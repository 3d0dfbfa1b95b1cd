"""From the simulator to a chip: whole numbers, NIR, and adapters to other tools."""

from ._integers import IntegerNetwork, to_integers
from ._neurobench import NeuroBenchNet
from ._nir import to_nir
from ._nir_read import from_nir

__all__ = ["IntegerNetwork", "NeuroBenchNet", "from_nir", "to_integers", "to_nir"]
