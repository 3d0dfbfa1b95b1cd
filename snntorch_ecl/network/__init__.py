"""The spiking network: how it runs, is observed, predicts, and is saved."""

from ._layer import Layer
from ._network import SpikingNetwork
from ._observe import Observer, Seen
from ._predict import Prediction
from ._summary import Summary

__all__ = ["Layer", "Observer", "Prediction", "Seen", "SpikingNetwork", "Summary"]
