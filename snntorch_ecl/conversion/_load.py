"""``load``: a spiking network from its file and the ANN's code."""

from __future__ import annotations

import copy
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from .._util.checks import check_levels, check_module, check_neuron
from ..errors import CheckpointError, EclError
from ..functional import SurrogateGradient
from ..graph._registry import Handlers
from ..graph._site import ConvertConfig
from ..network._files import NETWORK, as_path, check_types, read_settings, read_tensors
from ..network._layer import Layer, Norms
from ..network._network import SpikingNetwork
from ..nn._threshold_clip import ThresholdClip
from ._convert import converted, with_step_biases
from ._prepare_again import prepared_with

LOWERINGS: dict[str, Callable[[SpikingNetwork, Mapping[str, Any]], SpikingNetwork]] = {}
"""What rebuilds the structure of a network that was lowered to a chip, by the kind in its file."""


def load(
    path: str | Path,
    model: nn.Module,
    *,
    handlers: Handlers | None = None,
    leaf_modules: Iterable[type[nn.Module]] = (),
    spike_grad: SurrogateGradient | None = None,
    example: Any = None,
) -> SpikingNetwork:
    """Rebuild a spiking network from a file and the ANN's code.

    Args:
        path: What :meth:`SpikingNetwork.save` wrote.
        model: A network of the same architecture, with any weights: the ReLU network, or the
            prepared one. It is not changed.
        handlers: The handlers that ``convert`` was given.
        leaf_modules: The types that ``convert`` was given.
        spike_grad: Surrogate gradient, which is not stored in the file.
        example: The example that ``prepare`` was given; only its shapes and dtypes are read.

    Returns:
        The network, with the weights, thresholds and settings of the file.

    Raises:
        CheckpointError: The file is missing or damaged, is no such file or of a newer version,
            or belongs to another architecture.

    Example:
        >>> import pathlib, tempfile
        >>> from snntorch_ecl import convert
        >>> def network():
        ...     return nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> snn, images = convert(network()), torch.rand(3, 8)
        >>> path = snn.save(pathlib.Path(tempfile.mkdtemp()) / "snn.safetensors")
        >>> loaded = load(path, network())
        >>> torch.equal(loaded(images, num_steps=4), snn(images, num_steps=4))
        True
    """
    path = as_path(path, "load(path, model)")
    check_module(model)
    tensors, settings = _read(path)
    layers, neurons = _layers_and_neurons(path, settings)
    options = {
        "handlers": handlers,
        "leaf_modules": tuple(leaf_modules),
        "spike_grad": spike_grad,
        "example": example,
        "unit_spikes": _checked(path, settings, "unit_spikes", (False, True)),
    }
    signed = any(neuron["signed"] for neuron in neurons.values())
    norms = _checked(path, settings, "norms", get_args(Norms))
    biases = _step_biases(path, settings, sum(map(Tensor.numel, tensors.values())))
    names = [layer.name for layer in layers]
    network = _rebuild(tensors, model, path, options, norms, biases, names, signed)
    if "lowering" in settings:
        network = _lowered(network, path, settings["lowering"])
        tensors = _as_held(tensors, network.state_dict())
    expected = [layer.name for layer in network.layers]
    if expected != names:
        raise CheckpointError(
            f"{path} belongs to another network: its spiking layers are {names}, those of "
            f"{type(model).__name__} are {expected}"
        )
    check_types(path, tensors, network.state_dict())
    try:
        network.load_state_dict(tensors)
    except (RuntimeError, EclError) as error:
        # torch lists every tensor of a large network.
        reason = textwrap.shorten(str(error), 500, placeholder=" …")
        raise CheckpointError(f"{path} does not fit {type(model).__name__}: {reason}") from error
    network.layers = layers
    for name, neuron in network.neurons.items():
        if name not in neurons:
            raise CheckpointError(f"the settings in {path} are damaged: they lack {name}")
        for setting, value in neurons[name].items():
            setattr(neuron, setting, value)
    return network


def _lowered(network: SpikingNetwork, path: Path, lowerings: Any) -> SpikingNetwork:
    """The network in the structure that its file's tensors have."""
    try:
        for lowering in [lowerings] if isinstance(lowerings, dict) else lowerings:
            network = LOWERINGS[lowering["kind"]](network, lowering)
        return network
    except (KeyError, TypeError, EclError) as error:
        raise CheckpointError(f"the settings in {path} are damaged: {error!r}") from error


def _as_held(tensors: Mapping[str, Tensor], held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole numbers in float64 where the network holds them so."""
    whole = (torch.int8, torch.int16, torch.int32)
    floats = {name for name, own in held.items() if own.is_floating_point()}
    return {
        name: value.double() if name in floats and value.dtype in whole else value
        for name, value in tensors.items()
    }


def _layers_and_neurons(
    path: Path, settings: dict[str, Any]
) -> tuple[tuple[Layer, ...], dict[str, dict[str, float]]]:
    """The layers and each neuron's settings from a file's settings, checked."""
    try:
        layers = tuple(Layer(**entry) for entry in settings["layers"])
        neurons = {name: _neuron(**entry) for name, entry in settings["neurons"].items()}
        for layer in layers:
            check_levels(layer.levels)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"the settings in {path} are damaged: {error!r}") from error
    return layers, neurons


def _checked(path: Path, settings: dict[str, Any], name: str, allowed: tuple[Any, ...]) -> Any:
    """One of a file's settings, checked to be an allowed value."""
    value = settings.get(name)
    if not any(value is option or value == option != 1 for option in allowed):
        raise CheckpointError(f"the settings in {path} are damaged: {name}={value!r}")
    return value


def _step_biases(path: Path, settings: dict[str, Any], most: int) -> dict[str, Tensor]:
    """Zeros in the shapes of the corrections that the file holds, with ``most`` values at most."""
    try:
        shapes = settings.get("step_biases", {})
        if sum(map(math.prod, shapes.values())) > most:
            raise ValueError("step_biases are larger than the file")
        return {name: torch.zeros(shape) for name, shape in shapes.items()}
    except (AttributeError, TypeError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"the settings in {path} are damaged: {error!r}") from error


def _neuron(
    *,
    negative_threshold: float,
    initial_membrane: float,
    spike_sizes: int = 1,
    signed: bool = False,
) -> dict[str, float]:
    check_neuron(negative_threshold, initial_membrane, spike_sizes)
    if not isinstance(signed, bool):
        raise ValueError(f"signed={signed!r}")
    return {
        "negative_threshold": float(negative_threshold),
        "initial_membrane": float(initial_membrane),
        "spike_sizes": spike_sizes,
        "signed": signed,
    }


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, metadata = read_tensors(path, NETWORK)
    settings = read_settings(path, metadata, "settings")
    if not isinstance(settings, dict):
        raise CheckpointError(f"the settings in {path} are damaged: {settings!r:.100}")
    return tensors, settings


def _rebuild(
    tensors: Mapping[str, Tensor],
    model: nn.Module,
    path: Path,
    options: dict[str, Any],
    norms: Norms,
    biases: dict[str, Tensor],
    layers: list[str],
    signed: bool,
) -> SpikingNetwork:
    """Convert the architecture with stand-in thresholds, as the file's settings say."""
    try:
        if any(isinstance(module, ThresholdClip) for module in model.modules()):
            ann = copy.deepcopy(model)
        else:
            known = {name: options[name] for name in ("handlers", "leaf_modules", "example")}
            ann = prepared_with(layers, model, signed=signed, **known)
        _stand_in(ann, tensors)
        config = ConvertConfig(spike_grad=options["spike_grad"])
        # Files of release 0.1.0 keep norms behind subclassed convolutions.
        statistics = (key for key in tensors if key.endswith(".running_var"))
        kept = {key.removeprefix("net.").removesuffix(".running_var") for key in statistics}
        when: Norms = "folded" if norms == "folded" else "kept"
        known = {name: value for name, value in options.items() if name != "spike_grad"}
        network = converted(ann, config, when, kept=kept, **known)
        if norms == "folded later":
            network.fold_batchnorms(kept=kept)
        return with_step_biases(network, biases) if biases else network
    except EclError as error:
        raise CheckpointError(f"the model given for {path} does not convert: {error}") from error


@torch.no_grad()
def _stand_in(ann: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Set stand-in thresholds, in the shapes that the file has; they are overwritten later."""
    for name, module in ann.named_modules():
        if not isinstance(module, ThresholdClip):
            continue
        stored = tensors.get(f"net.{name}.threshold")
        if stored is not None and stored.ndim == 1 and len(stored):
            module.threshold = torch.ones(len(stored))
        elif not module.is_set:
            module.threshold = 1.0
