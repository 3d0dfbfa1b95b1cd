"""What is counted while a spiking network is measured, and added up over processes."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from .activation import ThresholdClip, over_channels
from .convert import prepare
from .errors import ConfigError, DataError
from .processes import summed
from .temporal import unfold
from .tracing import copied

__all__ = ["AnswerMeter", "LayerMeter", "activations_of", "watched_ann"]


class LayerMeter:
    """What one spiking layer and the activation it stands for do, over all data.

    Args:
        num_steps: T.
        worth: What an emitted spike stands for; see :meth:`SpikingNetwork.spike_worth`.

    Attributes:
        activation: The ANN's, ``[B, ...]``, between its hook and the spiking layer's.
    """

    def __init__(self, num_steps: int, worth: Tensor) -> None:
        self.num_steps = num_steps
        self.worth = worth
        self.activation: Tensor | None = None
        # ‖mean spikes − activation‖², ‖activation‖²; spikes, negative ones, neurons × steps.
        self._sums = torch.zeros(5, dtype=torch.float64)

    def on_activation(self, module: nn.Module, args: Any, output: Tensor) -> None:
        """Forward hook of the ANN's activation; runs before the spiking layer's."""
        self.activation = output

    def on_spikes(self, module: nn.Module, args: Any, output: Tensor) -> None:
        """Forward hook of the spiking layer, in multi-step mode."""
        distance = reference = torch.zeros(())
        if self.activation is not None:
            mean = self.mean(output)
            distance = (mean - self.activation).double().square().sum()
            reference = self.activation.double().square().sum()
            self.activation = None
        spikes, negative = (output != 0).sum(), (output < 0).sum()
        size = torch.tensor(output.numel())
        for index, value in enumerate((distance, reference, spikes, negative, size)):
            self._sums[index] += value.double().cpu()

    def mean(self, output: Tensor) -> Tensor:
        """The mean spike output over time, ``[B, ...]``, in the unit of the activation."""
        mean = unfold(output, self.num_steps).mean(0)
        return mean * over_channels(self.worth, mean)

    def gather(self) -> None:
        """Add what the other processes have seen."""
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


class AnswerMeter:
    """Right answers at each t, and where SNN and ANN choose alike.

    Args:
        num_steps: T.
    """

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps
        # Rows: right at each t, agreed at each t; then the ANN's right answers and all samples.
        self._counts = torch.zeros(2 * num_steps + 2, dtype=torch.int64)

    def add(self, logits: Any, labels: Tensor, ann_logits: Tensor | None) -> None:
        """Count one batch.

        Args:
            logits: ``[T, B, classes]``.
            labels: ``[B]``.
            ann_logits: ``[B, classes]``, or None.

        Raises:
            DataError: The logits have another form, or a label is no class.
        """
        if not isinstance(logits, Tensor) or logits.ndim != 3:
            raise DataError("evaluate needs a network with one output, logits [B, classes]")
        classes = logits.shape[2]
        if not bool(((labels >= 0) & (labels < classes)).all()):
            raise DataError(
                f"labels reach from {int(labels.min())} to {int(labels.max())}, but the network "
                f"has classes 0 to {classes - 1}"
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


def watched_ann(ann: nn.Module, names: Collection[str]) -> nn.Module:
    """A copy of an ANN in eval mode, its activations modules of their own, to hang hooks on.

    Args:
        ann: A ReLU network, or a prepared one. It stays as it is.
        names: Of the spiking layers that it is compared with.

    Returns:
        The copy.
    """
    ann = copied(ann).eval()
    # An unset clip passes ReLU through, at the same names as the spiking layers.
    return ann if set(names) <= _clips(ann).keys() else prepare(ann)


def activations_of(ann: nn.Module, names: Collection[str]) -> dict[str, ThresholdClip]:
    """The activations that spiking layers stand for.

    Args:
        ann: What :func:`watched_ann` returned.
        names: Of the spiking layers.

    Returns:
        The clips by name.

    Raises:
        ConfigError: The ANN lacks some, which are named.
    """
    clips = _clips(ann)
    missing = [name for name in names if name not in clips]
    if missing:
        raise ConfigError(
            f"the ANN has no activation {', '.join(missing)}: give the network that the spiking "
            "one was converted from"
        )
    return {name: clips[name] for name in names}


def _clips(ann: nn.Module) -> dict[str, ThresholdClip]:
    return {name: m for name, m in ann.named_modules() if isinstance(m, ThresholdClip)}
