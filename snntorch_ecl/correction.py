"""Three ways to correct one layer of a running spiking network towards its ANN.

Each sees the current that is about to reach a neuron, changes the layer before it, and hands on
the corrected current, so that later layers see what will really come.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .neuron import DualThreshold
from .sites import has_own
from .temporal import Hold, unfold

__all__ = ["Biases", "Corrector", "Steps", "Weights", "mean_over_channels"]

# Halvings of the interval in which a bias is sought: to θ/1024. The mean output rises with the
# bias, but in jumps, where many neurons cross a level together; Newton's steps would circle.
_HALVINGS = 11
# Steps of conjugate gradients. Each explains what the few images have most in common; many steps
# would explain these images alone.
_ITERATIONS = 3
# Neurons × images × steps from which a compiled time loop is worth its compilation.
_WORTH_COMPILING = 50_000_000


def mean_over_channels(values: Tensor) -> Tensor:
    """Mean of each image's channels, ``[B, C, ...]`` to ``[B, C]``."""
    return values.flatten(2).mean(2) if values.ndim > 2 else values


class Corrector:
    """Corrects what reaches one neuron.

    Args:
        net: The graph that the layer is part of.
        neuron: The neuron.
        site: The layer before it, or None.
        target: What :meth:`of_ann` has kept, of all images.
        num_steps: T.
        worth: What an emitted spike stands for; see :meth:`SpikingNetwork.spike_worth`.
    """

    def __init__(
        self,
        net: nn.Module,
        neuron: DualThreshold | None,
        site: nn.Module | None,
        target: Tensor,
        num_steps: int,
        worth: Tensor | float = 1.0,
    ) -> None:
        self.net, self.neuron, self.site = net, neuron, site
        self.twin = copy.deepcopy(neuron)  # before any hook that it would inherit
        self.target, self.num_steps, self.worth = target, num_steps, worth

    @staticmethod
    def of_ann(current: Tensor, activation: Tensor) -> Tensor:
        """What to remember of the ANN's layer: one row an image."""
        raise NotImplementedError

    def corrected(self, current: Tensor, held: int) -> tuple[Tensor, int]:
        """Correct the layer for its current.

        Args:
            current: ``[T·B, ...]``, or ``[B, ...]`` if it is held constant.
            held: See :func:`snntorch_ecl.temporal.unfold`.

        Returns:
            The current as it is now, and how it is held.
        """
        raise NotImplementedError

    def finish(self, output: Tensor, logits: Tensor) -> None:
        """Correct the last layer.

        Args:
            output: The network's, the mean over T steps, ``[B, ...]``.
            logits: The ANN's.
        """
        if self.site is not None:
            _add(self.site, "bias", _feature_means(logits - output, self.site))


class Weights(Corrector):
    """Least squares: the layer's mean output shall be the ANN's, image by image.

    Conjugate gradients on the normal equations find the change of the weights from the mean input
    that the layer really gets; what is left on average goes into the bias.
    """

    # Of the layer in the running pass: what it gets, and the shape of what it returns.
    inputs: Tensor
    shape: torch.Size

    @staticmethod
    def of_ann(current: Tensor, activation: Tensor) -> Tensor:
        """The currents themselves."""
        return current

    def corrected(self, current: Tensor, held: int) -> tuple[Tensor, int]:
        """Fit the layer to the ANN's currents."""
        if self.site is None or self.shape != current.shape[1:]:
            return current, held  # an output that is spread over the current is not fitted to it
        mean = unfold(current, self.num_steps, held).mean(0)
        shift = self._fit(self.target - mean)
        if len(shift) != len(current):
            shift = Hold()(shift, self.num_steps)
        return current + shift, held

    def finish(self, output: Tensor, logits: Tensor) -> None:
        """Fit the last layer to the ANN's logits."""
        if self.site is not None and self.shape == output.shape[1:]:
            self._fit(logits - output)

    def _fit(self, residual: Tensor) -> Tensor:
        """Change the layer; what that adds to its output."""
        site, inputs = self.site, self.inputs
        assert site is not None
        mean = inputs
        if len(inputs) != len(residual):
            mean = unfold(inputs, self.num_steps).mean(0)
        bias = torch.zeros_like(_parameter(site, "bias"))
        change = {"bias": bias}
        if has_own(self.net, site, "weight"):
            weight = _parameter(site, "weight")

            def through(weight: Tensor) -> Tensor:
                out: Tensor = functional_call(site, {"weight": weight, "bias": bias}, (mean,))
                return out

            change["weight"] = _least_squares(through, weight, residual)
            residual = residual - through(change["weight"])
        change["bias"] = _feature_means(residual, site)
        for name, value in change.items():
            _add(site, name, value)
        added: Tensor = functional_call(site, change, (inputs,))
        return added


class Biases(Corrector):
    """The bias at which each channel spikes on average as its ANN activates, by halving."""

    @staticmethod
    def of_ann(current: Tensor, activation: Tensor) -> Tensor:
        """The mean activation of each channel."""
        return mean_over_channels(activation)

    def corrected(self, current: Tensor, held: int) -> tuple[Tensor, int]:
        """Search the bias of every channel at once."""
        site, twin = self.site, self.twin
        # A linear layer over tokens has its bias along the last dimension, not along channels.
        if site is None or twin is None or (isinstance(site, nn.Linear) and current.ndim != 2):
            return current, held
        twin.fused = current.numel() * max(held, 1) > _WORTH_COMPILING
        target = self.target.mean(0)
        # A channel that cannot reach its target must not be pushed for ever.
        high = twin.threshold.detach() * torch.ones_like(target)
        low = -high
        for _ in range(_HALVINGS):
            bias = (low + high) / 2
            twin.reset_mem()
            spikes = twin(current + _along(bias, current), num_steps=self.num_steps, held=held)
            falls_short = mean_over_channels(spikes).mean(0) * self.worth < target
            low = torch.where(falls_short, bias, low)
            high = torch.where(falls_short, high, bias)
        _add(site, "bias", bias)
        return current + _along(bias, current), held


class Steps(Corrector):
    """A bias for each step: the mean current at every step shall be the ANN's.

    Attributes:
        bias: ``[T, C]``, once the layer has run.
    """

    bias: Tensor | None = None

    @staticmethod
    def of_ann(current: Tensor, activation: Tensor) -> Tensor:
        """The mean current of each channel."""
        return mean_over_channels(current)

    def corrected(self, current: Tensor, held: int) -> tuple[Tensor, int]:
        """Find the biases in closed form."""
        steps = unfold(current, self.num_steps, held)
        if steps.ndim < 3:
            return current, held
        means = torch.stack([mean_over_channels(step).mean(0) for step in steps])
        self.bias = self.target.mean(0) - means
        shifts = self.bias.unsqueeze(1)
        return (steps + shifts.view(*shifts.shape, *[1] * (steps.ndim - 3))).flatten(0, 1), 1


def _least_squares(through: Callable[[Tensor], Tensor], like: Tensor, wanted: Tensor) -> Tensor:
    """The weights w, of few directions, for which the linear ``through(w)`` is near ``wanted``."""
    with torch.enable_grad():
        at = torch.zeros_like(like).requires_grad_()
        image = through(at)

    def adjoint(value: Tensor) -> Tensor:
        return torch.autograd.grad(image, at, value, retain_graph=True)[0]

    found, residual = torch.zeros_like(like), wanted
    slope = adjoint(residual)
    direction, length = slope, slope.square().sum()
    for _ in range(_ITERATIONS):
        reached = through(direction)
        size = reached.square().sum()
        if not bool(size > 0):  # nothing is left to explain, or no input ever came
            break
        step = length / size
        found, residual = found + step * direction, residual - step * reached
        slope = adjoint(residual)
        previous, length = length, slope.square().sum()
        direction = slope + (length / previous) * direction
    return found


def _feature_means(values: Tensor, site: nn.Module) -> Tensor:
    """Mean along the dimension of a layer's bias: the last of a linear layer, else the second."""
    dim = -1 if isinstance(site, nn.Linear) else 1
    return values.transpose(0, dim).flatten(1).mean(1)


def _along(bias: Tensor, current: Tensor) -> Tensor:
    return bias.view(-1, *[1] * (current.ndim - 2))


def _parameter(module: nn.Module, name: str) -> nn.Parameter:
    parameter = module._parameters[name]
    assert parameter is not None
    return parameter


def _add(module: nn.Module, name: str, value: Tensor) -> None:
    parameter = _parameter(module, name)
    parameter.data = parameter.data + value.detach().to(parameter.dtype)
