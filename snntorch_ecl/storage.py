"""Spiking networks on disk: safetensors, settings as metadata, no pickle."""

from __future__ import annotations

import copy
import json
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from ._version import __version__
from .activation import ThresholdClip
from .checks import check_levels, check_neuron
from .convert import convert, prepare
from .errors import CheckpointError, EclError
from .files import replacing
from .handlers import Handlers
from .network import Layer, SpikingNetwork
from .step_bias import insert_step_biases, step_biases

if TYPE_CHECKING:
    from .functional import SurrogateGradient

__all__ = ["Format", "load", "read_figures", "read_tensors", "save", "write_tensors"]


@dataclass(frozen=True)
class Format:
    """A kind of safetensors file.

    Attributes:
        name: What it holds.
        version: Raised when older releases could not read it.
        writer: What writes it, for errors.
    """

    name: str
    version: int
    writer: str

    def metadata(self) -> dict[str, str]:
        """What marks a file as of this format."""
        return {"format": self.name, "format_version": str(self.version)}


_FORMAT = Format("snntorch-ecl spiking network", version=1, writer="SpikingNetwork.save")


def save(
    network: SpikingNetwork, path: str | Path, *, figures: Mapping[str, Any] | None = None
) -> Path:
    """Write a network's tensors and settings; see :meth:`SpikingNetwork.save`.

    Args:
        network: The network.
        path: The file.
        figures: What was measured on it, as plain data, for :func:`read_figures`.

    Returns:
        The path.

    Raises:
        CheckpointError: The file cannot be written; a file that stood there is unharmed.
    """
    settings = {
        "version": __version__,
        "layers": [asdict(layer) for layer in network.layers],
        "neurons": {
            name: {
                "negative_threshold": neuron.negative_threshold,
                "initial_membrane": neuron.initial_membrane,
            }
            for name, neuron in network.neurons.items()
        },
        "step_biases": step_biases(network),
        "unit_spikes": network.unit_spikes,
    }
    metadata = {
        **_FORMAT.metadata(),
        "settings": json.dumps(settings),
        "figures": json.dumps(dict(figures or {})),
    }
    return write_tensors(path, network.state_dict(), metadata)


def read_figures(path: str | Path) -> dict[str, Any]:
    """What was measured on a network in a file, as :func:`save` was given it.

    Args:
        path: The file.

    Returns:
        Plain data; nothing where none was given.

    Raises:
        CheckpointError: The file is missing, damaged, foreign or of a newer version.
    """
    metadata = read_tensors(Path(path), _FORMAT)[1]
    try:
        figures: dict[str, Any] = json.loads(metadata.get("figures", "{}"))
    except ValueError as error:
        raise CheckpointError(f"the figures in {path} are damaged: {error!r}") from error
    return figures


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]
) -> Path:
    """Write a safetensors file, all or nothing.

    Args:
        path: The file; a folder that is missing is made.
        tensors: What to write; tensors that share memory are written once each.
        metadata: Texts to write with them.

    Returns:
        The path.

    Raises:
        CheckpointError: The file cannot be written; a file that stood there is unharmed.
    """
    path = Path(path)
    # A copy of each: safetensors refuses tensors that share memory, as tied weights do.
    copies = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
    try:
        with replacing(path) as part:
            part.write_bytes(to_bytes(copies, metadata))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be written: {error}") from error
    return path


def load(
    path: str | Path,
    model: nn.Module,
    *,
    handlers: Handlers | None = None,
    leaf_modules: Iterable[type[nn.Module]] = (),
    spike_grad: SurrogateGradient | None = None,
) -> SpikingNetwork:
    """Rebuild a spiking network from a file and the ANN's code.

    Args:
        path: What :meth:`SpikingNetwork.save` wrote.
        model: A network of the architecture that was converted, with any weights: the ReLU
            network, or the prepared one. It stays as it is.
        handlers: As they were given to ``convert``.
        leaf_modules: As they were given to ``convert``.
        spike_grad: Surrogate gradient; a function is not stored.

    Returns:
        The network, with the weights, thresholds and settings of the file.

    Raises:
        CheckpointError: The file is missing, damaged, foreign or of a newer version, or it
            belongs to another architecture.
    """
    path = Path(path)
    tensors, settings = _read(path)
    layers, neurons = _layers_and_neurons(path, settings)
    options = {
        "handlers": handlers,
        "leaf_modules": tuple(leaf_modules),
        "spike_grad": spike_grad,
        "unit_spikes": _unit_spikes(path, settings),
    }
    biases = _step_biases(path, settings)
    network = _rebuild(tensors, model, path, options, biases)
    expected, found = ([layer.name for layer in ls] for ls in (network.layers, layers))
    if expected != found:
        raise CheckpointError(
            f"{path} belongs to another network: its spiking layers are {found}, those of "
            f"{type(model).__name__} are {expected}"
        )
    try:
        network.load_state_dict(tensors)
    except (RuntimeError, EclError) as error:
        # torch lists every tensor of a large network.
        reason = textwrap.shorten(str(error), 500, placeholder=" …")
        raise CheckpointError(f"{path} does not fit {type(model).__name__}: {reason}") from error
    network.layers = layers
    for name, neuron in network.neurons.items():
        if name not in neurons:
            raise CheckpointError(f"the settings in {path} are damaged: nothing about {name}")
        neuron.negative_threshold, neuron.initial_membrane = neurons[name]
    return network


def _layers_and_neurons(
    path: Path, settings: dict[str, Any]
) -> tuple[tuple[Layer, ...], dict[str, tuple[float, float]]]:
    """The settings of a file, checked: its layers, and (θ′, v(0)) of each neuron."""
    try:
        layers = tuple(Layer(**entry) for entry in settings["layers"])
        neurons = {name: _neuron(**entry) for name, entry in settings["neurons"].items()}
        for layer in layers:
            check_levels(layer.levels)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"the settings in {path} are damaged: {error!r}") from error
    return layers, neurons


def _unit_spikes(path: Path, settings: dict[str, Any]) -> bool:
    """Whether the file's network emits unit spikes; older releases wrote nothing about it."""
    unit_spikes = settings.get("unit_spikes", False)
    if not isinstance(unit_spikes, bool):
        raise CheckpointError(f"the settings in {path} are damaged: unit_spikes={unit_spikes!r}")
    return unit_spikes


def _step_biases(path: Path, settings: dict[str, Any]) -> dict[str, Tensor]:
    """Room for the corrections that the file holds."""
    try:
        shapes = settings.get("step_biases", {})
        return {name: torch.zeros(shape) for name, shape in shapes.items()}
    except (AttributeError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"the settings in {path} are damaged: {error!r}") from error


def _neuron(*, negative_threshold: float, initial_membrane: float) -> tuple[float, float]:
    check_neuron(negative_threshold, initial_membrane)
    return float(negative_threshold), float(initial_membrane)


def read_tensors(path: Path, expected: Format) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file of one of this package's formats.

    Args:
        path: The file.
        expected: The format its metadata must name.

    Returns:
        Its tensors and its metadata.

    Raises:
        CheckpointError: The file is missing, damaged, of another format, or of another version.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged, or no safetensors file: {error}") from error
    if metadata.get("format") != expected.name:
        raise CheckpointError(
            f"{path} was not written by {expected.writer}: its format is "
            f"{metadata.get('format')!r}, not {expected.name!r}"
        )
    if metadata.get("format_version") != str(expected.version):
        raise CheckpointError(
            f"{path} has format version {metadata.get('format_version')}; this release reads "
            f"{expected.version}. Update snntorch-ecl."
        )
    return tensors, metadata


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, metadata = read_tensors(path, _FORMAT)
    try:
        settings: dict[str, Any] = json.loads(metadata["settings"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"the settings in {path} are damaged: {error!r}") from error
    return tensors, settings


def _rebuild(
    tensors: Mapping[str, Tensor],
    model: nn.Module,
    path: Path,
    options: dict[str, Any],
    biases: dict[str, Tensor],
) -> SpikingNetwork:
    """Convert the architecture with stand-in thresholds; batch norms stay if the file has them."""
    if any(isinstance(module, ThresholdClip) for module in model.modules()):
        ann = copy.deepcopy(model)
    else:
        known = {name: options[name] for name in ("handlers", "leaf_modules")}
        ann = prepare(model, **known)
    _stand_in(ann, tensors)
    try:
        network = insert_step_biases(convert(ann, fold_batchnorms=False, **options), biases)
        if tensors.keys() == network.state_dict().keys():
            return network
        network = network.fold_batchnorms()
        if tensors.keys() == network.state_dict().keys() or not options["unit_spikes"]:
            return network
        # Weights that were tied until batch norms were folded can take θ afterwards only.
        return insert_step_biases(convert(ann, **options), biases)
    except EclError as error:
        raise CheckpointError(f"the model given for {path} does not convert: {error}") from error


@torch.no_grad()
def _stand_in(ann: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Set thresholds that will be overwritten, one a channel where the file has one a channel."""
    for name, module in ann.named_modules():
        if not isinstance(module, ThresholdClip):
            continue
        stored = tensors.get(f"net.{name}.threshold")
        if stored is not None and stored.ndim == 1 and len(stored):
            module.threshold = torch.ones(len(stored))
        elif not module.is_set:
            module.threshold = 1.0
