"""What training does with thresholds that weights do not need: a decay of their own, a start."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..nn._threshold_clip import clips_of
from ..settings import TrainConfig


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """A model's parameters for an optimiser: weights and thresholds, each with its own decay.

    Biases and norms count as weights, as in the literature.
    """
    thresholds = [clip.raw_threshold for clip in clips_of(model).values()]
    known = {id(parameter) for parameter in thresholds}
    weights = [p for p in model.parameters() if id(p) not in known]
    return [
        {"params": weights, "weight_decay": config.weight_decay},
        {"params": thresholds, "weight_decay": config.threshold_decay},
    ]


def start_thresholds(model: nn.Module, images: Tensor) -> bool:
    """Set every threshold that is unset from one batch; whether there were any, and it was run."""
    if all(clip.is_set for clip in clips_of(model).values()):
        return False
    model.train()
    with torch.no_grad():
        model(images)
    return True
