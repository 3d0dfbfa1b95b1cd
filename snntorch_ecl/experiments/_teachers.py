"""Trained networks whose answers another one learns, read from files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ..errors import CheckpointError
from ..models._checkpoint import load_ann_or_shipped
from ..settings import DataConfig


def teachers_from(
    paths: Sequence[str], *, learner: str, classes: Sequence[str], data: DataConfig
) -> list[nn.Module]:
    """Networks for the learner's classes and images; :class:`CheckpointError` for others."""
    found = []
    for path in paths:
        teacher = load_ann_or_shipped(path)
        ours = _seen(classes, data)
        for name, theirs in _seen(teacher.classes, teacher.config.data).items():
            if theirs != ours[name]:
                raise CheckpointError(
                    f"the teacher {path} was trained with {name} {theirs}, {learner} with "
                    f"{ours[name]}; both must take the same"
                )
        found.append(teacher.ann)
    return found


def _seen(classes: Sequence[str], data: DataConfig) -> dict[str, Any]:
    """What a network answers to: its classes, and images as its training gave them."""
    return {
        "classes": tuple(classes),
        "data.image_size": data.image_size,
        "data.mean": data.mean,
        "data.std": data.std,
    }
