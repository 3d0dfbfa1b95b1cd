"""The package as a whole: what importing it costs, and what every public name owes."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import snntorch_ecl

ROOT = Path(snntorch_ecl.__file__).parent
NAMES = ["snntorch_ecl", *(m.name for m in pkgutil.walk_packages([str(ROOT)], "snntorch_ecl."))]
NAMES = [name for name in NAMES if not any(part.startswith("_") for part in name.split("."))]
HEAVY = {"torchvision", "matplotlib", "pandas", "lightning", "pytorch_lightning", "mlxtend",
         "sklearn", "jinja2", "typer"}  # fmt: skip


def exported() -> Iterator[tuple[str, Any]]:
    for name in NAMES:
        module = importlib.import_module(name)
        for public in module.__all__:
            yield f"{name}.{public}", getattr(module, public, None)


def own(thing: Any) -> bool:
    """Classes and functions that are written here; constants and aliases have no docstring."""
    kinds = inspect.isclass(thing) or inspect.isfunction(thing)
    return kinds and thing.__module__.startswith("snntorch_ecl")


PUBLIC = {name: thing for name, thing in exported() if own(thing)}
CLASSES = {name: thing for name, thing in PUBLIC.items() if inspect.isclass(thing)}


def methods(kind: type) -> dict[str, Any]:
    """Functions, properties and class methods that a class defines itself, constructor included."""
    found = {}
    for name, value in vars(kind).items():
        inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        visible = not name.startswith("_") or name == "__init__"
        if (
            visible
            and inspect.isfunction(inner)
            and inner.__code__.co_filename.startswith(str(ROOT))
        ):
            found[name] = inner
    return found


@pytest.fixture(scope="module")
def fresh() -> dict[str, Any]:
    """What a new interpreter has loaded after the import; a neuron of it outlives all modules."""
    script = (
        "import json, sys, snntorch_ecl, torch\n"
        "torch.kept = snntorch_ecl.DualThreshold()\n"
        "print(json.dumps({'modules': sorted({m.partition('.')[0] for m in sys.modules}), "
        "'compiler': 'torch._dynamo' in sys.modules, "
        "'cuda': torch.cuda.is_initialized(), 'threads': torch.get_num_threads(), "
        "'names': [m for m in sys.modules if m.startswith('snntorch_ecl.')]}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return {"returncode": done.returncode, "stderr": done.stderr, **json.loads(done.stdout)}


def test_importing_says_nothing_and_a_neuron_that_outlives_the_modules_dies_in_silence(
    fresh: dict[str, Any],
) -> None:
    assert (fresh["returncode"], fresh["stderr"]) == (0, "")


def test_importing_loads_nothing_heavy(fresh: dict[str, Any]) -> None:
    assert HEAVY & set(fresh["modules"]) == set()


def test_importing_does_not_load_the_compiler(fresh: dict[str, Any]) -> None:
    assert fresh["compiler"] is False


def test_importing_does_not_touch_the_accelerator(fresh: dict[str, Any]) -> None:
    assert fresh["cuda"] is False


def test_importing_leaves_training_and_experiments_alone(fresh: dict[str, Any]) -> None:
    loaded = {name.split(".")[1] for name in fresh["names"]}
    assert loaded & {"cli", "experiments", "training"} == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_module_says_what_it_is_for_and_lists_its_public_names(name: str) -> None:
    module = importlib.import_module(name)
    assert inspect.getdoc(module)
    assert len(set(module.__all__)) == len(module.__all__)
    assert [public for public in module.__all__ if not hasattr(module, public)] == []


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_docstring_of_its_own(name: str) -> None:
    thing = PUBLIC[name]
    assert thing.__doc__
    assert not thing.__doc__.startswith(f"{thing.__name__}(")  # what dataclasses make up


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_method_has_a_docstring(name: str) -> None:
    bare = [n for n, f in methods(CLASSES[name]).items() if n != "__init__" and not f.__doc__]
    assert bare == []


def unannotated(function: Any) -> list[str]:
    signature = inspect.signature(function)
    missing = [p.name for p in signature.parameters.values()
               if p.annotation is p.empty and p.name not in ("self", "cls")]  # fmt: skip
    return missing + ["return"] * (signature.return_annotation is signature.empty)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_and_method_is_annotated(name: str) -> None:
    thing = PUBLIC[name]
    functions = methods(thing) if inspect.isclass(thing) else {"": thing}
    assert {n: unannotated(f) for n, f in functions.items() if unannotated(f)} == {}


# Whoever adds a public name adds it here, and whoever takes one away says so in the changelog.
ROOMS: dict[str, tuple[str, ...]] = {
    "snntorch_ecl": (
        "Allocation", "ConvertConfig", "DualThreshold", "EclError", "Energy", "Evaluation",
        "SignedMaxPool", "Site", "SpikingNetwork", "Stepwise", "Temporal", "ThresholdClip",
        "Verification", "__version__", "allocate_levels", "calibrate", "compensate", "convert",
        "convert_pretrained", "energy", "errors", "evaluate", "from_nir", "functional", "graded",
        "keep", "levelled", "load", "models", "plain", "plot_spikes", "prepare", "register",
        "reset", "settle_then_fire", "surrogate", "to_integers", "to_nir", "two_channels",
        "verify",
    ),
    "errors": (
        "CheckpointError", "ConfigError", "DataError", "EclError", "InputError",
        "MissingDependencyError", "NotPreparedError", "RegistrationError", "StateError",
        "ThresholdUnsetError", "TraceError", "UnsupportedError",
    ),
    "functional": (
        "CountBounds", "State", "SurrogateGradient", "dual_threshold_step", "fresh_state",
        "positive", "scan", "threshold_clip",
    ),
    "surrogate": ("rectangular", "triangular"),
    "nn": (
        "Difference", "DualThreshold", "Scale", "SignedMaxPool", "StepBias", "Stepwise", "Temporal",
        "ThresholdClip", "reset", "unfold",
    ),
    "graph": ("ConvertConfig", "Site", "keep", "register"),
    "network": ("Layer", "Observer", "Prediction", "PreparedNetwork", "Seen", "Settled",
                "SpikingNetwork", "StepByStep", "Summary"),
    "conversion": (
        "Budget", "CalibrateConfig", "Compensation", "Correction", "LayerCorrection", "calibrate",
        "compensate", "convert", "convert_pretrained", "load", "prepare",
    ),
    "measurement": (
        "CONFIDENCES", "Constants", "Energy", "Evaluation", "ExitCurve", "ExitPoint",
        "LayerActivity", "LayerCheck", "LayerCost", "Verification", "accuracy_axes", "energy",
        "error_axes", "evaluate", "exit_curve", "plot_spikes", "raster_axes", "rate_axes", "verify",
    ),
    "hardware": (
        "Allocation", "IntegerNetwork", "LayerLevels", "Limits", "LoweredNetwork", "Manifest",
        "Misfit", "Move", "NeuroBenchNet", "Part", "allocate_levels", "from_nir", "graded",
        "levelled", "manifest", "plain", "settle_then_fire", "to_integers", "to_nir",
        "two_channels",
    ),
    "settings": (
        "DataConfig", "ExperimentConfig", "Precision", "TrainConfig", "from_dict", "load_config",
    ),
    "training": ("Committee", "DeviceImages", "Teacher", "fit", "measure_norms"),
    "models": (
        "Checkpoint", "ConvViT", "DigitNet", "PretrainedSNN", "ResNet", "VGG16", "ViT", "build",
        "load_ann", "load_pretrained", "load_pretrained_snn", "pretrained_names",
        "pretrained_snn_names", "resnet18", "resnet20", "resnet34", "save_ann", "vgg16",
    ),
    "experiments": (
        "AblateConfig", "Ablation", "Bench", "BenchConfig", "ConversionConfig",
        "ConversionResult", "DemoConfig", "DemoResult", "EnergyConfig", "ExitConfig",
        "ExportConfig", "MeasureConfig", "NEURONS", "Point", "Split", "Sweep", "SweepConfig",
        "Timing", "TuneConfig", "ablate", "chip_limits", "digits", "limits_names", "load_data",
        "load_tuned", "recipe", "recipe_names", "run_ablation", "run_bench", "run_conversion",
        "run_demo", "run_early_exit", "run_energy", "run_evaluation", "run_export", "run_sweep",
        "run_training", "run_tuning",
    ),
    "cli": ("app",),
}  # fmt: skip


def test_every_room_has_the_public_names_that_are_listed_here() -> None:
    names = {name.removeprefix("snntorch_ecl.") for name in NAMES}
    assert names - {"cli.__main__"} == ROOMS.keys()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_the_public_names_that_are_listed_here(room: str) -> None:
    name = room if room == "snntorch_ecl" else f"snntorch_ecl.{room}"
    assert tuple(sorted(importlib.import_module(name).__all__)) == ROOMS[room]


def test_the_names_of_the_top_level_are_in_order() -> None:
    assert list(snntorch_ecl.__all__) == sorted(snntorch_ecl.__all__)


PROMISES = {
    "ThresholdClip": {"levels": 4, "threshold": None, "per_channel": False},
    "DualThreshold": {"threshold": 1.0, "negative_threshold": -1e-3, "initial_membrane": 0.5,
                      "spike_grad": None, "surrogate_disable": False, "init_hidden": False,
                      "learn_threshold": False, "output": False, "graded_spikes_factor": 1.0},
    "prepare": {"levels": 4, "per_channel": False, "leaf_modules": ()},
    "convert": {"negative_threshold": -1e-3, "handlers": None},
    "evaluate": {"ann": None},
}  # fmt: skip


@pytest.mark.parametrize("name", PROMISES)
def test_promised_defaults_hold(name: str) -> None:
    parameters = inspect.signature(getattr(snntorch_ecl, name)).parameters
    assert {key: parameters[key].default for key in PROMISES[name]} == PROMISES[name]


def test_types_are_shipped() -> None:
    assert (ROOT / "py.typed").is_file()
    setup = (ROOT.parent / "setup.cfg").read_text(encoding="utf-8")
    assert "py.typed" in setup


def test_the_version_is_stated_once_and_is_the_same_everywhere() -> None:
    version = snntorch_ecl.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    setup = (ROOT.parent / "setup.cfg").read_text(encoding="utf-8")
    assert "version = attr: snntorch_ecl._version.__version__" in setup
    assert f"version: {version}" in (ROOT.parent / "CITATION.cff").read_text(encoding="utf-8")
