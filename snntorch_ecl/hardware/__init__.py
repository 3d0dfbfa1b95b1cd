"""From the simulator to a chip: whole numbers, NIR, and adapters to other tools."""

from ._allocate import allocate_levels
from ._allocation import Allocation, LayerLevels, Move
from ._graded import graded
from ._integers import IntegerNetwork, to_integers
from ._levelled import levelled
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
    "Allocation",
    "IntegerNetwork",
    "LayerLevels",
    "Limits",
    "LoweredNetwork",
    "Manifest",
    "Misfit",
    "Move",
    "NeuroBenchNet",
    "Part",
    "allocate_levels",
    "from_nir",
    "graded",
    "levelled",
    "manifest",
    "plain",
    "settle_then_fire",
    "to_integers",
    "to_nir",
    "two_channels",
]
