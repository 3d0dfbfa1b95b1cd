"""The paper's experiments as runs: settings in, figures, JSON and pictures out."""

from ._ablation import NEURONS, Ablation, ablate
from ._accuracy_runs import AblateConfig, run_ablation, run_evaluation
from ._bench import BenchConfig, run_bench
from ._bench_result import Bench, Timing
from ._conversion_config import ConversionConfig
from ._conversion_result import ConversionResult
from ._conversion_run import run_conversion
from ._cost_runs import EnergyConfig, ExitConfig, run_early_exit, run_energy
from ._data import load_data
from ._demo import run_demo
from ._demo_result import DemoConfig, DemoResult
from ._digits import Split, digits
from ._export import ExportConfig, chip_limits, limits_names, run_export
from ._finetuned import load_tuned
from ._finetuning_run import TuneConfig, run_tuning
from ._measure import MeasureConfig
from ._recipes import recipe, recipe_names
from ._sweep import Point, Sweep
from ._sweep_run import SweepConfig, run_sweep
from ._training_run import run_training

__all__ = [
    "NEURONS",
    "AblateConfig",
    "Ablation",
    "Bench",
    "BenchConfig",
    "ConversionConfig",
    "ConversionResult",
    "DemoConfig",
    "DemoResult",
    "EnergyConfig",
    "ExitConfig",
    "ExportConfig",
    "MeasureConfig",
    "Point",
    "Split",
    "Sweep",
    "SweepConfig",
    "Timing",
    "TuneConfig",
    "ablate",
    "chip_limits",
    "digits",
    "limits_names",
    "load_data",
    "load_tuned",
    "recipe",
    "recipe_names",
    "run_ablation",
    "run_bench",
    "run_conversion",
    "run_demo",
    "run_early_exit",
    "run_energy",
    "run_evaluation",
    "run_export",
    "run_sweep",
    "run_training",
    "run_tuning",
]
