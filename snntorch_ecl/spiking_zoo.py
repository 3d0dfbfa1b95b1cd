"""Fine-tuned spiking networks that the package ships: nothing is downloaded, nothing trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint
from .network import SpikingNetwork
from .storage import load, read_figures, save
from .zoo import agreement_on_patterns, load_pretrained, shipped_file, shipped_names

__all__ = ["PretrainedSNN", "load_pretrained_snn", "pretrained_snn_names", "publish_snn"]

_FOLDER = "pretrained/spiking"


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

    Example:
        >>> "digitnet-digits-l4-t2" in pretrained_snn_names()
        True
    """
    return shipped_names(_FOLDER)


def load_pretrained_snn(name: str) -> PretrainedSNN:
    """Load a fine-tuned spiking network that the package ships.

    Args:
        name: One of :func:`pretrained_snn_names`: that of its ANN, and the T it was tuned at.

    Returns:
        The network, its ANN and its figures.

    Raises:
        ConfigError: There is no such network; lists those there are.

    Example:
        >>> found = load_pretrained_snn("digitnet-digits-l4-t2")
        >>> found.figures["num_steps"], len(found.source.classes)
        (2, 10)
    """
    with shipped_file(_FOLDER, name) as path:
        figures = read_figures(path)
        source = load_pretrained(figures["source"])
        return PretrainedSNN(load(path, source.ann).eval(), source, figures)


def publish_snn(
    snn: SpikingNetwork,
    path: str | Path,
    *,
    source: str,
    num_steps: int,
    figures: Mapping[str, Any],
) -> Path:
    """Write a fine-tuned network as the package ships it.

    Args:
        snn: The network.
        path: The file.
        source: Which of :func:`~snntorch_ecl.zoo.pretrained_names` was tuned.
        num_steps: T at which it was.
        figures: What was measured on its test data.

    Returns:
        The path.

    Raises:
        ConfigError: The package ships no such ANN.
        CheckpointError: The file cannot be written.
    """
    checkpoint = load_pretrained(source)
    stated = {
        "source": source,
        "num_steps": num_steps,
        "data": checkpoint.figures["data"],
        **figures,
        "agreement_on_patterns": agreement_on_patterns(checkpoint, snn),
    }
    return save(snn, path, figures=stated)
