"""Trained ANNs on disk: safetensors with the run's settings and figures, no pickle."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._version import __version__
from ..conversion import prepare
from ..errors import CheckpointError, EclError
from ..network._files import (
    Format,
    as_path,
    check_types,
    read_settings,
    read_tensors,
    write_tensors,
)
from ..nn._threshold_clip import clips_of
from ..settings import ExperimentConfig, from_dict
from ._build import build
from ._shipped import ANNS, shipped_file, shipped_names

_FORMAT = Format("snntorch-ecl ann", version=1, writer="save_ann")


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
    """The network of an experiment before any training, prepared unless it trains plain ReLU."""
    model = build(config.model, classes=classes)
    if config.relu:
        return model
    return prepare(
        model, levels=config.levels, per_channel=config.per_channel, signed=config.signed
    )


def initial_ann(config: ExperimentConfig, *, classes: int) -> nn.Module:
    """The network that an experiment begins with, with the weights that it starts from."""
    ann = build_ann(config, classes=classes)
    if config.weights is not None:
        start_from(ann, config.weights)
    return ann


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
        ann: The network: ``build(config.model, …)``, prepared unless ``config.relu``, trained.
        config: The experiment.
        classes: Names of the classes.
        figures: What was measured, as plain data.

    Returns:
        The path.

    Raises:
        CheckpointError: The file cannot be written; an existing file is not changed.

    Example:
        >>> import tempfile
        >>> config = ExperimentConfig(model="digit_net")
        >>> ann = prepare(build("digit_net", classes=2))
        >>> folder = tempfile.mkdtemp()
        >>> path = save_ann(f"{folder}/ann.safetensors", ann, config, classes=("cat", "dog"))
        >>> load_ann(path).classes
        ('cat', 'dog')
    """
    metadata = {
        **_FORMAT.metadata(),
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
        CheckpointError: The file is missing, damaged or of another kind, or does not fit its
            settings.

    Example:
        >>> load_ann("runs/digits/ann.safetensors").config.levels  # doctest: +SKIP
        4
    """
    path = as_path(path, "load_ann(path)")
    tensors, metadata = read_tensors(path, _FORMAT)
    settings, classes, figures = (
        read_settings(path, metadata, name) for name in ("config", "classes", "figures")
    )
    _check_settings(path, classes, figures)
    try:
        config = from_dict(ExperimentConfig, settings)
        _check_size(config, len(classes), tensors)
        ann = build_ann(config, classes=len(classes))
        check_types(path, tensors, ann.state_dict())
        ann.load_state_dict(tensors)
    except (ValueError, RuntimeError, EclError) as error:
        # torch lists every tensor of a large network.
        reason = textwrap.shorten(str(error), 500, placeholder=" …")
        raise CheckpointError(f"{path} does not fit its own settings: {reason}") from error
    return Checkpoint(ann.eval(), config, tuple(classes), figures)


def load_ann_or_shipped(path: str | Path) -> Checkpoint:
    """Read a trained ANN from a file, or one that the package ships, by its name."""
    names = shipped_names(ANNS)
    if Path(path).exists():
        return load_ann(path)
    if str(path) not in names:
        raise CheckpointError(
            f"there is no file {path}, and the package ships no such network; it has "
            f"{', '.join(names)}"
        )
    with shipped_file(ANNS, str(path)) as file:
        return load_ann(file)


def _check_settings(path: Path, classes: Any, figures: Any) -> None:
    """Refuse classes that are no list of names, and figures that have no names."""
    if not (isinstance(classes, list) and classes and all(isinstance(c, str) for c in classes)):
        raise CheckpointError(f"the classes in {path} are damaged: {classes!r:.100}")
    if not isinstance(figures, dict):
        raise CheckpointError(f"the figures in {path} are damaged: {figures!r:.100}")


def _check_size(config: ExperimentConfig, classes: int, tensors: Mapping[str, Tensor]) -> None:
    """Refuse settings of a network that is larger than the file, before it takes memory."""
    try:
        with torch.device("meta"):
            wanted = sum(p.numel() for p in build(config.model, classes=classes).parameters())
    except (NotImplementedError, RuntimeError):
        return  # some of torchvision's compute with values as they are built
    found = sum(values.numel() for values in tensors.values())
    if wanted > found:
        raise CheckpointError(
            f"{config.model} with {classes} classes has {wanted:,} weights, the file {found:,} "
            "values"
        )


def start_from(ann: nn.Module, path: str | Path) -> None:
    """Take over the weights of a trained network; thresholds that it has not stay unset.

    A learned threshold is the largest value of its layer, whatever the number of levels below it,
    so levels may differ. If it is another network, or its thresholds have other shapes,
    :class:`CheckpointError`, and ``ann`` is as it was.
    """
    source = load_ann_or_shipped(path)
    state = source.ann.state_dict()
    differing = differences(state, ann.state_dict(), but=("raw_threshold", "batches_left"))
    if differing:
        raise CheckpointError(
            f"{path} holds another network ({source.config.model}, {len(source.classes)} classes): "
            f"{differing}"
        )
    if not source.config.relu:
        _check_activations(ann, source.ann, path)
    ann.load_state_dict(state, strict=False)


def _check_activations(ann: nn.Module, trained: nn.Module, path: str | Path) -> None:
    """Refuse thresholds that do not fit: a layer's for channels, and the other way round."""
    theirs = clips_of(trained)
    for name, clip in clips_of(ann).items():
        other = theirs.get(name, clip)  # one that the file has not stays unset
        if (clip.signed, clip.per_channel) != (other.signed, other.per_channel):
            raise CheckpointError(
                f"{path} was trained with per_channel={other.per_channel}, signed={other.signed} "
                f"at {name}; here it has per_channel={clip.per_channel}, signed={clip.signed}. Use "
                "the same, or start from a ReLU network"
            )


def differences(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], *, but: tuple[str, ...] = ()
) -> str:
    """Names and shapes in which two networks differ, in words; empty where they are alike.

    Names that end as in ``but`` may differ.
    """
    found = [
        f"{key} ({_shape(state, key)} in the file, {_shape(own, key)} here)"
        for key in sorted({*state, *own})
        if _shape(state, key) != _shape(own, key) and not key.endswith(but)
    ]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"{', '.join(found[:3])}{more}"


def _shape(state: Mapping[str, Tensor], key: str) -> str:
    """The shape of a tensor as people write it."""
    return str(list(state[key].shape)) if key in state else "absent"
