"""The spiking network: running, observing, predicting and saving."""

from ._compile import PreparedNetwork
from ._layer import Layer
from ._network import SpikingNetwork
from ._observe import Observer, Seen
from ._predict import Prediction
from ._settle import Settled
from ._step_by_step import StepByStep
from ._summary import Summary

__all__ = [
    "Layer",
    "Observer",
    "Prediction",
    "PreparedNetwork",
    "Seen",
    "Settled",
    "SpikingNetwork",
    "StepByStep",
    "Summary",
]
