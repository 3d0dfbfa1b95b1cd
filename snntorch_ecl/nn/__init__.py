"""Layers to build networks by hand; ``prepare`` and ``convert`` use the same ones."""

from ._difference import Difference
from ._dual_threshold import DualThreshold
from ._pool import SignedMaxPool
from ._scale import Scale
from ._step_bias import StepBias
from ._stepwise import Stepwise, reset
from ._temporal import Temporal, unfold
from ._threshold_clip import ThresholdClip

__all__ = [
    "Difference",
    "DualThreshold",
    "Scale",
    "SignedMaxPool",
    "StepBias",
    "Stepwise",
    "Temporal",
    "ThresholdClip",
    "reset",
    "unfold",
]
