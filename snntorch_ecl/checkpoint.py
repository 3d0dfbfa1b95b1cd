"""Trained ANNs on disk: safetensors with the run's settings and figures, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from . import models
from ._version import __version__
from .config import ExperimentConfig, from_dict
from .convert import prepare
from .errors import CheckpointError, EclError
from .storage import write_tensors

__all__ = ["Checkpoint", "build_ann", "load_ann", "save_ann"]

_FORMAT = "snntorch-ecl ann"


@dataclass(frozen=True)
class Checkpoint:
    """A trained ANN and where it comes from.

    Attributes:
        ann: The network, in eval mode.
        config: The experiment that trained it.
        classes: Names of its classes.
        figures: What was measured on it.
    """

    ann: nn.Module
    config: ExperimentConfig
    classes: tuple[str, ...]
    figures: Mapping[str, Any]


def build_ann(config: ExperimentConfig, *, classes: int) -> nn.Module:
    """The untrained network of an experiment, prepared unless it trains plain ReLU."""
    model = models.build(config.model, classes=classes)
    if config.relu:
        return model
    return prepare(model, levels=config.levels, per_channel=config.per_channel)


def save_ann(
    path: str | Path,
    ann: nn.Module,
    config: ExperimentConfig,
    *,
    classes: tuple[str, ...],
    figures: Mapping[str, Any] | None = None,
) -> Path:
    """Write a trained ANN with its settings, all or nothing.

    Args:
        path: The file.
        ann: What :func:`build_ann` made, trained.
        config: The experiment.
        classes: Names of the classes.
        figures: What was measured, as plain data.

    Returns:
        The path.

    Raises:
        CheckpointError: The file cannot be written; one that stood there is unharmed.
    """
    metadata = {
        "format": _FORMAT,
        "version": __version__,
        "config": json.dumps(config.to_dict()),
        "classes": json.dumps(classes),
        "figures": json.dumps(dict(figures or {})),
    }
    return write_tensors(path, ann.state_dict(), metadata)


def load_ann(path: str | Path) -> Checkpoint:
    """Read a trained ANN.

    Args:
        path: What :func:`save_ann` wrote.

    Returns:
        The network and its settings.

    Raises:
        CheckpointError: The file is missing, damaged or foreign, or does not fit its own settings.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    tensors: dict[str, Tensor]
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged, or no safetensors file: {error}") from error
    if metadata.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path} is no trained ANN of this package: its format is "
            f"{metadata.get('format')!r}, not {_FORMAT!r}"
        )
    try:
        config = from_dict(ExperimentConfig, json.loads(metadata["config"]))
        classes = tuple(json.loads(metadata["classes"]))
        ann = build_ann(config, classes=len(classes))
        ann.load_state_dict(tensors)
        figures = json.loads(metadata["figures"])
    except (KeyError, ValueError, RuntimeError, EclError) as error:
        raise CheckpointError(f"{path} does not fit its own settings: {error}") from error
    return Checkpoint(ann.eval(), config, classes, figures)
