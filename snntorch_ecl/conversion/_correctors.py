"""Three ways to correct one layer of a spiking network towards its ANN.

Each takes from every group of images what it needs of the currents that reach a neuron, and then
changes the layer before the neuron.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .._util.torch_internals import own_parameter
from ..graph._names import has_own
from ..nn import DualThreshold, unfold
from ._least_squares import least_squares
from ._reference import Activation
from ._walk import Arrived

# Halvings of the interval of a bias, down to θ/1024. The mean output grows with the bias, but in
# jumps, where many neurons reach a level at once; Newton's method would not converge.
_HALVINGS = 11
# Neurons × steps of a group from which compiling the time loop pays, as it runs many times.
_WORTH_COMPILING = 1_000_000


Change: TypeAlias = dict[str, Tensor]
"""What to add: to a layer's ``weight`` and ``bias``, or (``shifts``) to a neuron's current."""


def mean_over_channels(values: Tensor) -> Tensor:
    """Mean over each channel of each image, ``[B, C, ...]`` to ``[B, C]``."""
    return values.flatten(2).mean(2) if values.ndim > 2 else values


class Corrector:
    """Corrects the layer before one neuron; no neuron means the network's output.

    Attributes:
        layer: That layer; None if there is none that can be corrected alone.
        shifts: What is to be added to the neuron's current, ``[T, C]``; None for nothing.
    """

    shifts: Tensor | None = None

    def __init__(
        self,
        net: nn.Module,
        neuron: DualThreshold | None,
        layer: nn.Module | None,
        num_steps: int,
        worth: Tensor | None = None,
    ) -> None:
        self.net, self.layer, self.num_steps = net, layer, num_steps
        self.worth = torch.ones(()) if worth is None else worth  # of a spike
        self.twin = copy.deepcopy(neuron)
        self._before: dict[str, Tensor] = {}

    @staticmethod
    def target(seen: Activation) -> Tensor:
        """What to keep of the ANN's activation: one row for each image."""
        raise NotImplementedError

    @staticmethod
    def judged(values: Tensor) -> Tensor:
        """The part of a layer's mean output ``[B, C, ...]`` that a correction is judged by.

        One number for a channel moves all of its neurons: what counts is each image's mean.
        """
        return mean_over_channels(values)

    def take(self, arrived: Arrived, target: Tensor) -> Any:
        """What to keep of one group; None if the layer cannot be corrected."""
        raise NotImplementedError

    def correction(self, groups: Sequence[Any]) -> Change:
        """The correction, given what :meth:`take` kept of each group."""
        raise NotImplementedError

    def take_output(self, arrived: Arrived, target: Any) -> Any:
        """As :meth:`take`, for the network's output and the ANN's."""
        mean = self._mean_output(arrived, target)
        assert self.layer is not None
        return None if mean is None or not _lies_along(self.layer, mean) else (target - mean,)

    def correction_of_output(self, groups: Sequence[Any]) -> Change:
        """As :meth:`correction`, for the last layer."""
        assert self.layer is not None
        return {"bias": _feature_means((group[0] for group in groups), self.layer)}

    def apply(self, change: Change, share: float) -> None:
        """Add a share of a correction to what the layer was before any."""
        for name, value in change.items():
            if name == "shifts":
                self.shifts = share * value if share else None
                continue
            assert self.layer is not None
            parameter = _parameter(self.layer, name)
            before = self._before.setdefault(name, parameter.detach())
            parameter.data = before + (share * value).to(before.dtype) if share else before

    def _mean_output(self, arrived: Arrived, target: Any) -> Tensor | None:
        """The network's mean output; None unless both networks return one tensor of one shape."""
        if not isinstance(arrived.current, Tensor) or not isinstance(target, Tensor):
            return None
        mean = unfold(arrived.current, self.num_steps).mean(0)
        return mean if mean.shape == target.shape else None


class Weights(Corrector):
    """Least squares: fit the layer's mean output to the ANN's for each image.

    Conjugate gradients on the normal equations find the change of the weights, from the mean input
    that the layer gets in the SNN. The bias takes the mean of the remaining error.
    """

    @staticmethod
    def target(seen: Activation) -> Tensor:
        """The whole currents."""
        return seen.current

    @staticmethod
    def judged(values: Tensor) -> Tensor:
        """Every neuron: weights move them one by one."""
        return values

    def take(self, arrived: Arrived, target: Tensor) -> Any:
        """Means over time: what is missing of the current, and the layer's input."""
        mean = unfold(arrived.current, self.num_steps, arrived.held).mean(0)
        return self._residual_and_input(arrived, target - mean, mean)

    def take_output(self, arrived: Arrived, target: Any) -> Any:
        """As :meth:`take`, with logits in the place of currents."""
        mean = self._mean_output(arrived, target)
        return None if mean is None else self._residual_and_input(arrived, target - mean, mean)

    def _residual_and_input(self, arrived: Arrived, residual: Tensor, mean: Tensor) -> Any:
        if arrived.input is None or arrived.shape != mean.shape[1:]:
            return None  # the output is broadcast or reshaped on its way to the neuron
        assert self.layer is not None
        if not _lies_along(self.layer, mean):
            return None
        read = arrived.input
        read = read if len(read) == len(mean) else unfold(read, self.num_steps).mean(0)
        return residual, read

    def correction(self, groups: Sequence[Any]) -> Change:
        """Fit weights, then the bias."""
        layer = self.layer
        assert layer is not None
        no_bias = torch.zeros_like(_parameter(layer, "bias"))
        change: Tensor | None = None

        def through(weight: Tensor, x: Tensor) -> Tensor:
            out: Tensor = functional_call(layer, {"weight": weight, "bias": no_bias}, (x,))
            return out

        def remaining() -> Iterable[Tensor]:
            for residual, x in groups:
                yield residual if change is None else residual - through(change, x)

        if has_own(self.net, layer, "weight"):
            change = least_squares(through, _parameter(layer, "weight"), groups)
        bias = _feature_means(remaining(), layer)
        return {"bias": bias} if change is None else {"weight": change, "bias": bias}

    def correction_of_output(self, groups: Sequence[Any]) -> Change:
        """Fit the last layer to the ANN's logits."""
        return self.correction(groups)


class Biases(Corrector):
    """Bisect the bias of each channel until its mean output is the ANN's mean activation."""

    @staticmethod
    def target(seen: Activation) -> Tensor:
        """The mean activation of each channel."""
        return mean_over_channels(seen.output)

    def take(self, arrived: Arrived, target: Tensor) -> Any:
        """The currents as they are: how a neuron answers to a bias depends on each of them."""
        # Rates are compared by channel, which is dimension 1.
        assert self.layer is not None
        current = arrived.current
        if _dimension_of_bias(self.layer) % current.ndim != 1 or not _lies_along(
            self.layer, current
        ):
            return None
        return arrived.current, arrived.held, target

    def correction(self, groups: Sequence[Any]) -> Change:
        """Bisect all channels at once."""
        twin = self.twin
        assert twin is not None
        current, held, _ = groups[0]
        twin.fused = len(groups) * current.numel() * max(held, 1) > 50 * _WORTH_COMPILING
        target = torch.cat([target for *_, target in groups]).mean(0)
        # Bounded, as some channels cannot reach their target.
        high = twin.threshold.detach() * torch.ones_like(target)
        low = -high
        for _ in range(_HALVINGS):
            bias = (low + high) / 2
            rates = []
            for current, held, _ in groups:
                twin.begin()
                along = bias.view(-1, *[1] * (current.ndim - 2))
                spikes = twin(current + along, num_steps=self.num_steps, held=held)
                rates.append(mean_over_channels(spikes))
            falls_short = torch.cat(rates).mean(0) * self.worth < target
            low = torch.where(falls_short, bias, low)
            high = torch.where(falls_short, high, bias)
        return {"bias": bias}


class Steps(Corrector):
    """A bias for each step that makes the step's mean current the ANN's."""

    @staticmethod
    def target(seen: Activation) -> Tensor:
        """The mean current of each channel."""
        return mean_over_channels(seen.current)

    def take(self, arrived: Arrived, target: Tensor) -> Any:
        """What is missing of the mean current of each channel at each step, ``[B, T, C]``."""
        steps = unfold(arrived.current, self.num_steps, arrived.held)
        if steps.ndim < 3:
            return None
        means = torch.stack([mean_over_channels(step) for step in steps], 1)
        return (target.unsqueeze(1) - means,)

    def correction(self, groups: Sequence[Any]) -> Change:
        """The mean over all images."""
        return {"shifts": torch.cat([missing for (missing,) in groups]).mean(0)}


def _dimension_of_bias(layer: nn.Module) -> int:
    """Along which dimension of a layer's output its bias lies."""
    return -1 if isinstance(layer, (nn.Linear, nn.LayerNorm)) else 1


def _lies_along(layer: nn.Module, values: Tensor) -> bool:
    """Whether values ``[B, ...]`` have one entry of the layer's bias along that dimension."""
    dim = _dimension_of_bias(layer)
    return values.ndim > 1 and _parameter(layer, "bias").shape == values.shape[dim:][:1]


def _feature_means(groups: Iterable[Tensor], layer: nn.Module) -> Tensor:
    """Mean along the dimension of a layer's bias."""
    dim = _dimension_of_bias(layer)
    total: Any = 0
    count = 0
    for values in groups:
        rows = values.transpose(0, dim).flatten(1)
        total, count = total + rows.sum(1), count + rows.shape[1]
    mean: Tensor = total / count
    return mean


def _parameter(module: nn.Module, name: str) -> nn.Parameter:
    parameter = own_parameter(module, name)
    assert parameter is not None
    return parameter
