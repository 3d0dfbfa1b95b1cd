"""Counters for measurements of a spiking network; they can be summed over processes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .._util.batches import check_labels
from .._util.devices import host_sum
from .._util.precision import wide_type
from .._util.processes import summed
from ..conversion._reference import Reference
from ..errors import ConfigError, DataError
from ..functional._channels import over_channels
from ..network import Observer, Seen
from ..nn import unfold


class LayerMeter:
    """Spikes of one layer, and the error of its mean output against the ANN's activation.

    ``worth`` is what an emitted spike is worth; see :meth:`SpikingNetwork.spike_worth`.
    """

    def __init__(self, name: str, num_steps: int, worth: Tensor) -> None:
        self.name, self.num_steps, self.worth = name, num_steps, worth
        # ‖mean spikes − activation‖², ‖activation‖²; spikes, negative ones, neurons × steps.
        self._sums = torch.zeros(5, dtype=torch.float64)
        self._total: Tensor | int = 0

    def see(self, seen: Seen) -> None:
        """Count some steps of a group of images."""
        steps = unfold(seen.output, seen.num_steps)
        self._total = self._total + steps.sum(0, dtype=wide_type(steps.dtype))
        spikes, negative = (steps != 0).sum(), (steps < 0).sum()
        self._sums[2:] += torch.tensor([int(spikes), int(negative), steps.numel()])

    def close(self, activation: Tensor | None) -> None:
        """Compare a group's mean output with the ANN's activation ``[B, ...]``."""
        total, self._total = self._total, 0
        assert isinstance(total, Tensor)
        if activation is None:
            return
        if activation.shape != total.shape:
            raise ConfigError(
                f"{self.name}: the ANN's activation has shape {list(activation.shape)}, the "
                f"spiking layer {list(total.shape)}: give the network that it was converted from"
            )
        mean = total / self.num_steps * over_channels(self.worth, total)
        self._sums[0] += host_sum((mean - activation).square())
        self._sums[1] += host_sum(activation.square())
        self.compare(mean, activation)

    def compare(self, mean: Tensor, activation: Tensor) -> None:
        """Hook for subclasses, called once a group."""

    def gather(self) -> None:
        """Add what the other processes have counted."""
        self._sums = summed(self._sums)

    @property
    def error(self) -> float | None:
        """``‖mean spikes − activation‖ / ‖activation‖``; None without an activation."""
        distance, reference = self._sums[:2].tolist()
        return math.sqrt(distance / reference) if reference > 0 else None

    @property
    def spike_rate(self) -> float:
        """Spikes of either sign per neuron and step."""
        return float(self._sums[2] / self._sums[4])

    @property
    def negative_rate(self) -> float:
        """Negative spikes per neuron and step."""
        return float(self._sums[3] / self._sums[4])


class LayerObserver(Observer):
    """Passes each spiking layer's steps, and the ANN's activation if given, to its meter."""

    def __init__(self, meters: Mapping[str, LayerMeter], reference: Reference | None) -> None:
        super().__init__(meters.keys())
        self._meters, self._reference = meters, reference
        self._answers: list[Any] = []

    def begin(self, *inputs: Tensor) -> None:
        """Run the ANN on the group."""
        self._activations: Mapping[str, Any] = {}
        if self._reference is not None:
            answer, self._activations = self._reference.run(*inputs)
            self._answers.append(answer)

    def see(self, seen: Seen) -> None:
        """Count some steps of a layer."""
        self._meters[seen.name].see(seen)

    def end(self) -> None:
        """Compare each layer's mean output with the ANN's activation."""
        for name, meter in self._meters.items():
            known = self._activations.get(name)
            meter.close(None if known is None else known.output)
        self._activations = {}

    def take_answers(self) -> Tensor | None:
        """The ANN's outputs since the last call, ``[B, ...]``; None without an ANN."""
        answers, self._answers = self._answers, []
        if not answers:
            return None
        if not all(isinstance(answer, Tensor) for answer in answers):
            raise DataError("the ANN must have one output, logits [B, classes]")
        return torch.cat(answers)


class AnswerMeter:
    """Counts right answers at each t, and images on which SNN and ANN choose the same class."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps
        # Right at each t; same choice at each t; the ANN's right answers; number of samples.
        self._counts = torch.zeros(2 * num_steps + 2, dtype=torch.int64)

    def add(self, logits: Any, labels: Tensor, ann_logits: Tensor | None) -> None:
        """Count a batch: logits ``[T, B, classes]``, labels ``[B]``, ANN's ``[B, classes]``."""
        if not isinstance(logits, Tensor) or logits.ndim != 3:
            raise DataError("evaluate needs a network with one output, logits [B, classes]")
        check_labels(labels, logits.shape[2])
        if ann_logits is not None and ann_logits.shape != logits.shape[1:]:
            raise ConfigError(
                f"the ANN returns {list(ann_logits.shape)} where the spiking network returns "
                f"{list(logits.shape[1:])}: give the network that it was converted from"
            )
        choice = logits.argmax(2)
        right = (choice == labels).sum(1)
        agreed, ann_right = torch.zeros_like(right), right.new_zeros(1)
        if ann_logits is not None:
            ann_choice = ann_logits.argmax(1)
            agreed = (choice == ann_choice).sum(1)
            ann_right = (ann_choice == labels).sum().view(1)
        total = right.new_tensor([labels.numel()])
        self._counts += torch.cat((right, agreed, ann_right, total)).cpu()

    def gather(self) -> None:
        """Add what the other processes have counted."""
        self._counts = summed(self._counts)

    @property
    def samples(self) -> int:
        """Number of images."""
        return int(self._counts[-1])

    @property
    def accuracy(self) -> tuple[float, ...]:
        """Share of right answers at t = 1 … T."""
        return self._shares(self._counts[: self.num_steps])

    @property
    def agreement(self) -> tuple[float, ...]:
        """Share of images on which the ANN chooses the same class, at t = 1 … T."""
        return self._shares(self._counts[self.num_steps : -2])

    @property
    def ann_accuracy(self) -> float:
        """Share of right answers of the ANN."""
        return self._shares(self._counts[-2:-1])[0]

    def _shares(self, counts: Tensor) -> tuple[float, ...]:
        return tuple((counts.double() / self.samples).tolist())
