"""From a ReLU network to a spiking one: step by step, or in one call; and back from a file."""

from ._calibrate import CalibrateConfig, calibrate
from ._compensate import Correction, compensate
from ._compensation import Compensation, LayerCorrection
from ._convert import convert
from ._convert_pretrained import Budget, convert_pretrained
from ._load import load
from ._prepare import prepare

__all__ = [
    "Budget",
    "CalibrateConfig",
    "Compensation",
    "Correction",
    "LayerCorrection",
    "calibrate",
    "compensate",
    "convert",
    "convert_pretrained",
    "load",
    "prepare",
]
