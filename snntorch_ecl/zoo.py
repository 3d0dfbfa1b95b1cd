"""ANNs that the package ships, trained and measured: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint import Checkpoint, load_ann, save_ann
from .convert import convert
from .errors import ConfigError
from .network import SpikingNetwork

__all__ = [
    "agreement_on_patterns",
    "load_pretrained",
    "patterns",
    "pretrained_names",
    "publish",
    "shipped_file",
    "shipped_names",
]

_SUFFIX = ".safetensors"


def shipped_names(folder: str) -> tuple[str, ...]:
    """Names of the networks in a folder of the package.

    Args:
        folder: From the package's own, with slashes.

    Returns:
        The names of its files without their ending, sorted.
    """
    names = (entry.name for entry in resources.files(__package__).joinpath(folder).iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def shipped_file(folder: str, name: str) -> AbstractContextManager[Path]:
    """The file of one of :func:`shipped_names`.

    Args:
        folder: From the package's own, with slashes.
        name: Of the network.

    Returns:
        What gives the path to a ``with`` block: the package may lie in an archive.

    Raises:
        ConfigError: There is no such network; lists those there are.
    """
    names = shipped_names(folder)
    if name not in names:
        raise ConfigError(
            f"there is no pretrained network {name!r}; the package ships {', '.join(names)}"
        )
    return resources.as_file(resources.files(__package__).joinpath(folder, f"{name}{_SUFFIX}"))


def pretrained_names() -> tuple[str, ...]:
    """The ANNs that the package ships.

    Example:
        >>> "resnet20-cifar10-l4" in pretrained_names()
        True
    """
    return shipped_names("pretrained")


def load_pretrained(name: str) -> Checkpoint:
    """Load a network that the package ships.

    Args:
        name: One of :func:`pretrained_names`.

    Returns:
        The prepared ANN in eval mode, ready for ``convert``; the experiment that trained it; its
        classes; and its figures: on which data, the ANN's accuracy, the spiking network's over T.

    Raises:
        ConfigError: There is no such network; lists those there are.

    Example:
        >>> checkpoint = load_pretrained("resnet20-cifar10-l4")
        >>> checkpoint.config.levels, len(checkpoint.classes)
        (4, 10)
    """
    with shipped_file("pretrained", name) as path:
        return load_ann(path)


def publish(
    checkpoint: Checkpoint, path: str | Path, *, data: str, figures: Mapping[str, Any]
) -> Path:
    """Write a trained network as the package ships it.

    Folders of the machine are left out. Beside the figures that were measured on real data goes
    :func:`agreement_on_patterns`, which anybody can measure again without the data.

    Args:
        checkpoint: The trained network.
        path: The file.
        data: What it was trained and measured on, in words.
        figures: What was measured there.

    Returns:
        The path.

    Raises:
        CheckpointError: The file cannot be written.
    """
    config = checkpoint.config
    if config.data.root is not None:
        config = replace(config, data=replace(config.data, root="<set data_root>"))
    stated = {
        "data": data,
        "levels": config.levels,
        "epochs": config.train.epochs,
        **figures,
        "agreement_on_patterns": agreement_on_patterns(checkpoint),
    }
    return save_ann(path, checkpoint.ann, config, classes=checkpoint.classes, figures=stated)


def patterns(checkpoint: Checkpoint, *, count: int = 200) -> Tensor:
    """Smooth random images of the network's size: the same on every machine.

    Args:
        checkpoint: Gives number of channels and size.
        count: How many.

    Returns:
        ``[count, C, H, W]``, about as bright and contrasted as normalised images.
    """
    first = next(p for p in checkpoint.ann.parameters() if p.ndim == 4)
    channels = int(first.shape[1])
    size = 28 if checkpoint.config.data.name == "digits" else checkpoint.config.data.image_size
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, channels, 5, 5, generator=generator)
    return torch.nn.functional.interpolate(
        coarse, size=(size, size), mode="bilinear", align_corners=True
    )


def agreement_on_patterns(
    checkpoint: Checkpoint,
    snn: SpikingNetwork | None = None,
    *,
    steps: tuple[int, ...] = (1, 2, 4, 8),
) -> dict[str, float]:
    """On what share of :func:`patterns` the spiking network chooses the ANN's class.

    Args:
        checkpoint: The ANN.
        snn: The spiking network, where it is not the converted ANN.
        steps: The T to report.

    Returns:
        Shares within [0, 1] by T; T as text, as JSON has it.
    """
    images = patterns(checkpoint)
    with torch.no_grad():
        expected = checkpoint.ann(images).argmax(1)
        spiking = convert(checkpoint.ann) if snn is None else snn
        logits = spiking.logits_over_time(images, num_steps=max(steps))
    shares = (logits.argmax(2) == expected).double().mean(1)
    return {str(t): float(shares[t - 1]) for t in steps}
