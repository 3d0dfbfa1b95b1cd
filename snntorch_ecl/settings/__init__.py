"""Experiments as data: frozen, validated settings, read from YAML or JSON and written back.

A room of its own, below ``models``: the file of a trained network carries the settings that it was
trained with, and ``models`` must read them without knowing how experiments run.
"""

from ._data import DataConfig
from ._experiment import ExperimentConfig
from ._reader import from_dict, load_config
from ._train import Precision, TrainConfig

__all__ = ["DataConfig", "ExperimentConfig", "Precision", "TrainConfig", "from_dict", "load_config"]
