"""Measure spiking networks: accuracy over time, errors against the ANN, energy, early exit."""

from ._costs import Constants, Energy, LayerCost
from ._early_exit import CONFIDENCES, ExitCurve, ExitPoint, exit_curve
from ._energy import energy
from ._evaluate import evaluate
from ._evaluation import Evaluation, LayerActivity, accuracy_axes, error_axes, rate_axes
from ._raster import plot_spikes, raster_axes
from ._verify import LayerCheck, Verification, verify

__all__ = [
    "CONFIDENCES",
    "Constants",
    "Energy",
    "Evaluation",
    "ExitCurve",
    "ExitPoint",
    "LayerActivity",
    "LayerCheck",
    "LayerCost",
    "Verification",
    "accuracy_axes",
    "energy",
    "error_axes",
    "evaluate",
    "exit_curve",
    "plot_spikes",
    "raster_axes",
    "rate_axes",
    "verify",
]
