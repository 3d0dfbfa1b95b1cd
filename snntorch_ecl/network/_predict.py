"""Early exit: each image stops when the network is sure of its class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .._util.checks import check_min_steps, check_num_steps
from .._util.precision import wide
from ..errors import ConfigError, InputError
from ..nn._difference import Difference
from ..nn._dual_threshold import DualThreshold
from ..nn._temporal import Temporal, temporal_layers
from ._readout import average


@dataclass(frozen=True)
class Prediction:
    """The result of :meth:`SpikingNetwork.predict`, for each image.

    Attributes:
        classes: ``[B]``, int64.
        confidence: Probability of that class when the image stopped, ``[B]``.
        steps: Number of steps that the image took, ``[B]``, int64.
    """

    classes: Tensor
    confidence: Tensor
    steps: Tensor

    @property
    def mean_steps(self) -> float:
        """Mean number of steps."""
        return float(self.steps.sum()) / len(self.steps)


@torch.no_grad()
def predict(
    step: Callable[..., Any],
    net: nn.Module,
    inputs: tuple[Tensor, ...],
    *,
    max_steps: int,
    confidence: float,
    min_steps: int,
) -> Prediction:
    """See :meth:`SpikingNetwork.predict`; ``step`` advances ``net``, whose state is fresh."""
    check_num_steps(max_steps)
    check_min_steps(min_steps, max_steps)
    check_confidence(confidence)
    found: Prediction | None = None
    total: Any = 0
    running, droppable = torch.zeros(0), False
    for t in range(1, max_steps + 1):
        logits = logits_of(step(*inputs))
        total = total + wide(logits)
        surest, choice = average(total, t, logits).softmax(1).max(1)
        if found is None:
            running, droppable = torch.arange(len(choice)), _droppable(net, len(choice))
            found = Prediction(choice.clone(), surest.clone(), torch.full_like(choice, max_steps))
        rows = running.to(choice.device)
        going = found.steps[rows] == max_steps  # rows that stopped but could not be dropped
        now = rows[going]
        found.classes[now], found.confidence[now] = choice[going], surest[going]
        if t >= min_steps:
            found.steps[now[surest[going] >= confidence]] = t
        left = found.steps[rows] == max_steps
        if not bool(left.any()):
            break
        if droppable and not bool(left.all()):
            inputs = tuple(x[left.to(x.device)] for x in inputs)
            total, running = total[left], rows[left]
            for layer in temporal_layers(net):
                layer.select(left)
    assert found is not None
    return found


def _droppable(net: nn.Module, images: int) -> bool:
    """Whether every layer can go on with some images: its state must have one row for each."""
    rows = [len(m.mem) for m in net.modules() if isinstance(m, DualThreshold)]
    rows += [layer.rows or 0 for layer in net.modules() if isinstance(layer, Difference)]
    selectable = all(type(layer).select is not Temporal.select for layer in temporal_layers(net))
    return selectable and all(number == images for number in rows)


def logits_of(output: Any) -> Tensor:
    """The output, checked to be logits ``[B, classes]``."""
    if not isinstance(output, Tensor) or output.ndim != 2:
        raise InputError("early exit needs a network with one output, logits [B, classes]")
    return output


def check_confidence(confidence: float) -> None:
    """Raise :class:`ConfigError` unless a confidence lies within (0, 1]."""
    if not (isinstance(confidence, (int, float)) and 0 < confidence <= 1):
        raise ConfigError(f"confidence must lie in (0, 1]; got {confidence!r}")
