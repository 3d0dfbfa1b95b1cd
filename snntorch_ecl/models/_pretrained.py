"""Networks that the package ships, trained and measured: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ..conversion import load
from ..errors import ConfigError
from ..network import SpikingNetwork
from ..network._files import read_figures
from ._checkpoint import Checkpoint, load_ann

_SUFFIX = ".safetensors"
# Folders beside this module.
_ANNS = "pretrained"
_SNNS = "pretrained/spiking"


def shipped_names(folder: str) -> tuple[str, ...]:
    """Names of the networks in one of the folders, sorted."""
    names = (entry.name for entry in resources.files(__package__).joinpath(folder).iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def shipped_file(folder: str, name: str) -> AbstractContextManager[Path]:
    """The file of a network, for a ``with`` block: the package may lie in an archive."""
    names = shipped_names(folder)
    if name not in names:
        raise ConfigError(
            f"there is no pretrained network {name!r}; the package ships {', '.join(names)}"
        )
    return resources.as_file(resources.files(__package__).joinpath(folder, f"{name}{_SUFFIX}"))


def pretrained_names() -> tuple[str, ...]:
    """The ANNs that the package ships.

    Returns:
        Their names, made of architecture, data and levels.

    Example:
        >>> "resnet20-cifar10-l4" in pretrained_names()
        True
    """
    return shipped_names(_ANNS)


def load_pretrained(name: str) -> Checkpoint:
    """Load a network that the package ships.

    Args:
        name: One of :func:`pretrained_names`.

    Returns:
        The prepared ANN in eval mode, ready for ``convert``; the experiment that trained it; its
        classes; and its figures: on which data, the ANN's accuracy, the spiking network's over T.

    Raises:
        ConfigError: There is no such network; the message lists all names.

    Example:
        >>> checkpoint = load_pretrained("resnet20-cifar10-l4")
        >>> checkpoint.config.levels, len(checkpoint.classes)
        (4, 10)
    """
    with shipped_file(_ANNS, name) as path:
        return load_ann(path)


@dataclass(frozen=True)
class PretrainedSNN:
    """A fine-tuned spiking network and the ANN that it comes from.

    Attributes:
        snn: The spiking network, in eval mode.
        source: The ANN that was converted and tuned, with its experiment and classes.
        figures: At which T it was tuned, on which data, and its accuracy over T.
    """

    snn: SpikingNetwork
    source: Checkpoint
    figures: Mapping[str, Any]


def pretrained_snn_names() -> tuple[str, ...]:
    """The fine-tuned spiking networks that the package ships.

    Returns:
        Their names, made of the ANN's and the T at which it was tuned.

    Example:
        >>> "digitnet-digits-l4-t2" in pretrained_snn_names()
        True
    """
    return shipped_names(_SNNS)


def load_pretrained_snn(name: str) -> PretrainedSNN:
    """Load a fine-tuned spiking network that the package ships.

    Args:
        name: One of :func:`pretrained_snn_names`: that of its ANN, and the T it was tuned at.

    Returns:
        The network, its ANN and its figures.

    Raises:
        ConfigError: There is no such network; the message lists all names.

    Example:
        >>> found = load_pretrained_snn("digitnet-digits-l4-t2")
        >>> found.figures["num_steps"], len(found.source.classes)
        (2, 10)
    """
    with shipped_file(_SNNS, name) as path:
        figures = read_figures(path)
        source = load_pretrained(figures["source"])
        return PretrainedSNN(load(path, source.ann).eval(), source, figures)
