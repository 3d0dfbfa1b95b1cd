"""Three ways to correct one layer of a spiking network towards its ANN, while it runs.

Each gets the currents that would reach a neuron, one tensor for each group of images. It changes
the layer before the neuron and returns the corrected currents, which the later layers then see.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .._util.torch_internals import own_parameter
from ..graph._names import has_own
from ..nn import DualThreshold, unfold
from ..nn._stepwise import Hold
from ._reference import Activation

# Halvings of the interval of a bias, down to θ/1024. The mean output grows with the bias, but in
# jumps, where many neurons reach a level at once; Newton's method would not converge.
_HALVINGS = 11
# Steps of conjugate gradients. The first steps fit what the images have in common; many steps
# would overfit them.
_ITERATIONS = 3
# Neurons × images × steps from which compiling the time loop pays.
_WORTH_COMPILING = 50_000_000


def mean_over_channels(values: Tensor) -> Tensor:
    """Mean over each channel of each image, ``[B, C, ...]`` to ``[B, C]``."""
    return values.flatten(2).mean(2) if values.ndim > 2 else values


class Corrector:
    """Corrects the layer before one neuron; no neuron means the network's output.

    Attributes:
        targets: What :meth:`of_ann` returned for each group.
        inputs: The layer's inputs for each group; only :class:`Weights` needs them.
    """

    def __init__(
        self,
        net: nn.Module,
        neuron: DualThreshold | None,
        layer: nn.Module | None,
        num_steps: int,
        worth: Tensor | float = 1.0,
    ) -> None:
        self.net, self.layer, self.num_steps, self.worth = net, layer, num_steps, worth
        self.twin = copy.deepcopy(neuron)
        self.targets: list[Tensor] = []
        self.inputs: list[Tensor] = []

    @staticmethod
    def of_ann(seen: Activation) -> Tensor:
        """What to keep of the ANN's activation: one row for each image."""
        raise NotImplementedError

    def corrected(self, currents: list[Tensor], held: int) -> tuple[list[Tensor], int]:
        """Correct the layer; returns the new currents ``[T·B, ...]``, or held ``[B, ...]``."""
        raise NotImplementedError

    def finish(self, outputs: list[Tensor]) -> None:
        """Correct the last layer, given its outputs averaged over T, ``[B, ...]``."""
        if self.layer is not None:
            residuals = [t - o for t, o in zip(self.targets, outputs, strict=True)]
            _add(self.layer, "bias", _feature_means(residuals, self.layer))


class Weights(Corrector):
    """Least squares: fit the layer's mean output to the ANN's for each image.

    Conjugate gradients on the normal equations find the change of the weights, from the mean input
    that the layer gets in the SNN. The bias takes the mean of the remaining error.
    """

    shape: torch.Size  # of the layer's output for one image

    @staticmethod
    def of_ann(seen: Activation) -> Tensor:
        """The whole currents."""
        return seen.current

    def corrected(self, currents: list[Tensor], held: int) -> tuple[list[Tensor], int]:
        """Fit the layer to the ANN's currents."""
        if self.layer is None or self.shape != currents[0].shape[1:]:
            # The output is broadcast or reshaped on its way to the neuron.
            return currents, held
        means = [unfold(current, self.num_steps, held).mean(0) for current in currents]
        shifts = self._fit([t - mean for t, mean in zip(self.targets, means, strict=True)])
        if len(shifts[0]) != len(currents[0]):
            shifts = [Hold()(shift, self.num_steps) for shift in shifts]
        return [c + shift for c, shift in zip(currents, shifts, strict=True)], held

    def finish(self, outputs: list[Tensor]) -> None:
        """Fit the last layer to the ANN's logits."""
        if self.layer is not None and self.shape == outputs[0].shape[1:]:
            self._fit([t - o for t, o in zip(self.targets, outputs, strict=True)])

    def _fit(self, residuals: list[Tensor]) -> list[Tensor]:
        """Change the layer; returns what that adds to its output, for each group."""
        layer, inputs = self.layer, self.inputs
        assert layer is not None
        means = [
            x if len(x) == len(r) else unfold(x, self.num_steps).mean(0)
            for x, r in zip(inputs, residuals, strict=True)
        ]
        bias = torch.zeros_like(_parameter(layer, "bias"))
        change = {"bias": bias}
        if has_own(self.net, layer, "weight"):

            def through(weight: Tensor, index: int) -> Tensor:
                state = {"weight": weight, "bias": bias}
                out: Tensor = functional_call(layer, state, (means[index],))
                return out

            change["weight"] = _least_squares(through, _parameter(layer, "weight"), residuals)
            residuals = [r - through(change["weight"], i) for i, r in enumerate(residuals)]
        change["bias"] = _feature_means(residuals, layer)
        for name, value in change.items():
            _add(layer, name, value)
        return [functional_call(layer, change, (x,)) for x in inputs]


class Biases(Corrector):
    """Bisect the bias of each channel until its mean output is the ANN's mean activation."""

    @staticmethod
    def of_ann(seen: Activation) -> Tensor:
        """The mean activation of each channel."""
        return mean_over_channels(seen.output)

    def corrected(self, currents: list[Tensor], held: int) -> tuple[list[Tensor], int]:
        """Bisect all channels at once."""
        layer, twin, first = self.layer, self.twin, currents[0]
        # A linear layer's bias is along the last dimension, which is the channels only in [B, C].
        if layer is None or twin is None or (isinstance(layer, nn.Linear) and first.ndim != 2):
            return currents, held
        twin.fused = sum(c.numel() for c in currents) * max(held, 1) > _WORTH_COMPILING
        target = torch.cat(self.targets).mean(0)
        # Bounded, as some channels cannot reach their target.
        high = twin.threshold.detach() * torch.ones_like(target)
        low = -high
        for _ in range(_HALVINGS):
            bias = (low + high) / 2
            rates = []
            for current in currents:
                twin.begin()
                spikes = twin(current + _along(bias, current), num_steps=self.num_steps, held=held)
                rates.append(mean_over_channels(spikes))
            falls_short = torch.cat(rates).mean(0) * self.worth < target
            low = torch.where(falls_short, bias, low)
            high = torch.where(falls_short, high, bias)
        _add(layer, "bias", bias)
        return [current + _along(bias, current) for current in currents], held


class Steps(Corrector):
    """A bias for each step that makes the step's mean current the ANN's.

    Attributes:
        bias: ``[T, C]``, once the layer has been corrected.
    """

    bias: Tensor | None = None

    @staticmethod
    def of_ann(seen: Activation) -> Tensor:
        """The mean current of each channel."""
        return mean_over_channels(seen.current)

    def corrected(self, currents: list[Tensor], held: int) -> tuple[list[Tensor], int]:
        """Compute the biases directly: target minus mean current."""
        sequences = [unfold(current, self.num_steps, held) for current in currents]
        if sequences[0].ndim < 3:
            return currents, held
        means = torch.stack(
            [
                torch.cat([mean_over_channels(steps[t]) for steps in sequences]).mean(0)
                for t in range(self.num_steps)
            ]
        )
        self.bias = torch.cat(self.targets).mean(0) - means
        shifts = self.bias.unsqueeze(1)
        shifts = shifts.view(*shifts.shape, *[1] * (sequences[0].ndim - 3))
        return [(steps + shifts).flatten(0, 1) for steps in sequences], 1


def _least_squares(
    through: Callable[[Tensor, int], Tensor], like: Tensor, wanted: Sequence[Tensor]
) -> Tensor:
    """Weights w for which the linear ``through(w, i)`` is close to ``wanted[i]``, in few steps."""

    def adjoint(values: Sequence[Tensor]) -> Tensor:
        total = torch.zeros_like(like)
        for index, value in enumerate(values):
            with torch.enable_grad():
                probe = torch.zeros_like(like).requires_grad_()
                total += torch.autograd.grad(through(probe, index), probe, value)[0]
        return total

    found, residuals = torch.zeros_like(like), list(wanted)
    slope = adjoint(residuals)
    direction, length = slope, slope.square().sum()
    for _ in range(_ITERATIONS):
        reached = [through(direction, index) for index in range(len(residuals))]
        size = sum((r.square().sum() for r in reached), torch.zeros_like(length))
        if not bool(size > 0):  # no error is left, or all inputs were zero
            break
        step = length / size
        found = found + step * direction
        residuals = [r - step * hit for r, hit in zip(residuals, reached, strict=True)]
        slope = adjoint(residuals)
        previous, length = length, slope.square().sum()
        direction = slope + (length / previous) * direction
    return found


def _feature_means(groups: Sequence[Tensor], layer: nn.Module) -> Tensor:
    """Mean along the dimension of a layer's bias: the last of a linear layer, else the second."""
    dim = -1 if isinstance(layer, nn.Linear) else 1
    rows = [values.transpose(0, dim).flatten(1) for values in groups]
    return sum(r.sum(1) for r in rows) / sum(r.shape[1] for r in rows)  # type: ignore[return-value]


def _along(bias: Tensor, current: Tensor) -> Tensor:
    return bias.view(-1, *[1] * (current.ndim - 2))


def _parameter(module: nn.Module, name: str) -> nn.Parameter:
    parameter = own_parameter(module, name)
    assert parameter is not None
    return parameter


def _add(module: nn.Module, name: str, value: Tensor) -> None:
    parameter = _parameter(module, name)
    parameter.data = parameter.data + value.detach().to(parameter.dtype)
