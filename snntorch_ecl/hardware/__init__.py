"""From the simulator to a chip: whole numbers, NIR, and adapters to other tools."""

from ._graded import graded
from ._integers import IntegerNetwork, to_integers
from ._limits import Limits, Misfit, Part
from ._lowered import LoweredNetwork
from ._manifest import Manifest, manifest
from ._neurobench import NeuroBenchNet
from ._nir import to_nir
from ._nir_read import from_nir
from ._plain import plain
from ._settle import settle_then_fire
from ._two_channels import two_channels

__all__ = [
    "IntegerNetwork",
    "Limits",
    "LoweredNetwork",
    "Manifest",
    "Misfit",
    "NeuroBenchNet",
    "Part",
    "from_nir",
    "graded",
    "manifest",
    "plain",
    "settle_then_fire",
    "to_integers",
    "to_nir",
    "two_channels",
]
