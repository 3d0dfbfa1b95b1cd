"""The paper's experiments as runs: settings in, figures, JSON and pictures out."""

from ._ablation import NEURONS, Ablation, ablate
from ._data import digits, load_data
from ._measure import AblateConfig, MeasureConfig, run_ablation, run_evaluation
from ._recipes import recipe, recipe_names
from ._sweep import Point, Sweep, SweepConfig, run_sweep
from ._training_run import run_training
from ._tuned import load_tuned
from ._tuning import TuneConfig, run_tuning

__all__ = [
    "NEURONS",
    "AblateConfig",
    "Ablation",
    "MeasureConfig",
    "Point",
    "Sweep",
    "SweepConfig",
    "TuneConfig",
    "ablate",
    "digits",
    "load_data",
    "load_tuned",
    "recipe",
    "recipe_names",
    "run_ablation",
    "run_evaluation",
    "run_sweep",
    "run_training",
    "run_tuning",
]
