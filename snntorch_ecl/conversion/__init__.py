"""From a ReLU network to a spiking one: prepare, calibrate, convert, compensate, load."""

from ._calibrate import CalibrateConfig, calibrate
from ._compensate import Correction, compensate
from ._compensation import Compensation, LayerCorrection
from ._convert import convert
from ._load import load
from ._prepare import prepare

__all__ = [
    "CalibrateConfig",
    "Compensation",
    "Correction",
    "LayerCorrection",
    "calibrate",
    "compensate",
    "convert",
    "load",
    "prepare",
]
