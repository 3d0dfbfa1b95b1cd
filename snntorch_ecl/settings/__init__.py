"""Experiments as data: frozen, validated settings, read from YAML or JSON and written back."""

from ._data import DataConfig
from ._experiment import ExperimentConfig
from ._reader import from_dict, load_config
from ._train import Precision, TrainConfig

__all__ = ["DataConfig", "ExperimentConfig", "Precision", "TrainConfig", "from_dict", "load_config"]
