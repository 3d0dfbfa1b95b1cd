"""Networks that the package ships, trained and measured: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..conversion import load
from ..network import SpikingNetwork
from ..network._files import read_figures
from ._checkpoint import Checkpoint, load_ann
from ._shipped import ANNS, SNNS, shipped_file, shipped_names


def pretrained_names() -> tuple[str, ...]:
    """The ANNs that the package ships.

    Returns:
        Their names, made of architecture, data and levels.

    Example:
        >>> "resnet20-cifar10-l4" in pretrained_names()
        True
    """
    return shipped_names(ANNS)


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
    with shipped_file(ANNS, name) as path:
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
    return shipped_names(SNNS)


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
    with shipped_file(SNNS, name) as path:
        figures = read_figures(path)
        source = load_pretrained(figures["source"])
        return PretrainedSNN(load(path, source.ann).eval(), source, figures)
