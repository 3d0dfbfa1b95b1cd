"""Files of a trained network for a chip, with a manifest of what it needs there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from .._util.checks import check_whole_numbers
from .._util.files import remedy, replacing
from .._util.optional import require
from ..conversion import convert
from ..errors import ConfigError, DataError
from ..hardware import (
    Limits,
    LoweredNetwork,
    Manifest,
    manifest,
    settle_then_fire,
    to_integers,
    to_nir,
    two_channels,
)
from ..hardware._whole_values import Options
from ..models import pretrained_snn_names
from ..network import SpikingNetwork
from ..settings import from_dict, load_config
from ..settings._text import parsed
from ._measure import MeasureConfig, Opened, run_measurement

Target = Literal["nir", "integers", "two-channels", "settle"]
_SEEN = 64  # images on which membranes are measured


@dataclass(frozen=True, kw_only=True)
class ExportConfig(MeasureConfig):
    """Which network to export, and for what.

    Attributes:
        target: ``nir``: a graph in floating point; ``integers``: whole numbers; ``two-channels``:
            these with two event lines a neuron; ``settle``: plain neurons that settle, then fire,
            in whole numbers.
        weight_bits: Size of a weight, sign included.
        membrane_bits: Size of a membrane, sign included.
        limits: A chip that the package knows, or a YAML file of limits; None: check nothing.

    Raises:
        ConfigError: A setting is outside its range, or several T.

    Example:
        >>> ExportConfig(pretrained="digitnet-digits-l4", target="settle").steps
        (4,)
    """

    target: Target = "integers"
    steps: tuple[int, ...] = (4,)
    images: int = 32
    weight_bits: int = 8
    membrane_bits: int = 24
    limits: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target not in get_args(Target):
            known = ", ".join(get_args(Target))
            raise ConfigError(f"target must be one of {known}; got {self.target!r}")
        if len(self.steps) != 1:
            raise ConfigError(f"a network is exported for one T; got steps={list(self.steps)}")
        check_whole_numbers("images", (self.images,), lowest=1)
        Options(weight_bits=self.weight_bits, membrane_bits=self.membrane_bits)


def limits_names() -> tuple[str, ...]:
    """The chips whose limits the package ships.

    Returns:
        Their names, sorted.

    Example:
        >>> limits_names()
        ('loihi2', 'speck', 'spinnaker2')
    """
    folder = resources.files(__package__).joinpath("limits")
    return tuple(sorted(e.name[:-5] for e in folder.iterdir() if e.name.endswith(".yaml")))


def chip_limits(name: str) -> Limits:
    """Limits that the package ships, or those of a file.

    Args:
        name: One of :func:`limits_names`, or the path of a YAML or JSON file.

    Returns:
        The limits.

    Raises:
        ConfigError: There is neither, or the file holds other settings.
        MissingDependencyError: PyYAML is not installed.

    Example:
        >>> chip_limits("speck").signed_spikes
        False
    """
    if name in limits_names():
        file = resources.files(__package__).joinpath(f"limits/{name}.yaml")
        return from_dict(Limits, parsed(file.read_text(encoding="utf-8"), name), where=name)
    if not Path(name).is_file():
        known = ", ".join(limits_names())
        raise ConfigError(f"limits must be one of {known}, or a file; there is no {name!r}")
    return load_config(Limits, name)


def run_export(config: ExportConfig, output_dir: Path) -> Manifest:
    """Lower a trained network, and write it with a manifest.

    Args:
        config: What to export.
        output_dir: Where ``network.safetensors`` or ``network.nir``, ``manifest.json`` and
            ``manifest.svg`` go.

    Returns:
        The manifest.

    Raises:
        ConfigError, UnsupportedError: The network does not fit the target; nothing is written.
        CheckpointError, DataError: The checkpoint or the data cannot be used, or a file cannot be
            written.
        MissingDependencyError: nir is not installed, for the target ``nir``.

    Example:
        >>> config = ExportConfig(checkpoint="ann.safetensors", target="settle")
        >>> run_export(config, Path("runs/chip"))  # doctest: +SKIP
    """
    limits = None if config.limits is None else chip_limits(config.limits)

    def measure(opened: Opened) -> Manifest:
        network, write = _lowered(opened, config)
        steps = config.steps[0]
        if isinstance(network, LoweredNetwork):
            steps = network.latency or steps
        images = [x for x, _ in opened.batches(config.batch_size)]
        needs = manifest(network, images, num_steps=steps, limits=limits)
        write(output_dir)
        return needs

    return run_measurement(measure, config, output_dir, "manifest")


def _lowered(
    opened: Opened, config: ExportConfig
) -> tuple[SpikingNetwork, Callable[[Path], object]]:
    """The network for a target, and what writes it into a folder."""
    snn, steps = opened.snn, config.steps[0]
    seen = _images(opened.train)
    bits: dict[str, Any] = {
        "weight_bits": config.weight_bits,
        "membrane_bits": config.membrane_bits,
    }
    if config.target == "nir":
        if config.tuned is None and config.pretrained not in pretrained_snn_names():
            snn = convert(opened.checkpoint.ann, unit_spikes=True)
        graph = to_nir(snn, seen[:1])
        return snn, lambda folder: _write_nir(folder / "network.nir", graph)
    if config.target == "settle":
        plain = settle_then_fire(snn, [seen], num_steps=steps)
        network = to_integers(plain, [seen], **bits)
    else:
        network = to_integers(snn, [seen], num_steps=steps, **bits)
        if config.target == "two-channels":
            network = two_channels(network)
    return network, lambda folder: network.save(folder / "network.safetensors")


def _images(data: Dataset[Any]) -> Tensor:
    """Some training images, the first ones."""
    few = Subset(data, range(min(_SEEN, len(data))))  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.cat([x for x, _ in DataLoader(few, batch_size=_SEEN)])


def _write_nir(path: Path, graph: Any) -> None:
    """Write an NIR file, all or nothing."""
    try:
        with replacing(path) as part:
            require("nir", extra="nir").write(str(part), graph)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}{remedy(error)}") from error
