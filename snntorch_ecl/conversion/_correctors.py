"""Three ways to correct one layer of a running spiking network towards its ANN.

Each sees the currents that are about to reach a neuron, one tensor for each group of images,
changes the layer before it, and hands on the corrected currents, so that later layers see what
will really come.
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
        neuron: The neuron; None for the network's output.
        site: The layer before it, or None.
        num_steps: T.
        worth: What an emitted spike stands for; see :meth:`SpikingNetwork.spike_worth`.

    Attributes:
        targets: What :meth:`of_ann` has kept, group by group.
        inputs: What the site has read, group by group; :class:`Weights` needs it.
    """

    def __init__(
        self,
        net: nn.Module,
        neuron: DualThreshold | None,
        site: nn.Module | None,
        num_steps: int,
        worth: Tensor | float = 1.0,
    ) -> None:
        self.net, self.site, self.num_steps, self.worth = net, site, num_steps, worth
        self.twin = copy.deepcopy(neuron)
        self.targets: list[Tensor] = []
        self.inputs: list[Tensor] = []

    @staticmethod
    def of_ann(seen: Activation) -> Tensor:
        """What to remember of the ANN's layer: one row an image."""
        raise NotImplementedError

    def corrected(self, currents: list[Tensor], held: int) -> tuple[list[Tensor], int]:
        """Correct the layer for its currents.

        Args:
            currents: ``[T·B, ...]`` each, or ``[B, ...]`` if they are held constant.
            held: See :func:`snntorch_ecl.nn.unfold`.

        Returns:
            The currents as they are now, and how they are held.
        """
        raise NotImplementedError

    def finish(self, outputs: list[Tensor]) -> None:
        """Correct the last layer for its outputs, means over T ``[B, ...]``."""
        if self.site is not None:
            residuals = [t - o for t, o in zip(self.targets, outputs, strict=True)]
            _add(self.site, "bias", _feature_means(residuals, self.site))


class Weights(Corrector):
    """Least squares: the layer's mean output shall be the ANN's, image by image.

    Conjugate gradients on the normal equations find the change of the weights from the mean input
    that the layer really gets; what is left on average goes into the bias.
    """

    shape: torch.Size  # of what the site returns for one image

    @staticmethod
    def of_ann(seen: Activation) -> Tensor:
        """The currents themselves."""
        return seen.current

    def corrected(self, currents: list[Tensor], held: int) -> tuple[list[Tensor], int]:
        """Fit the layer to the ANN's currents."""
        if self.site is None or self.shape != currents[0].shape[1:]:
            return currents, held  # an output that is spread over the current is not fitted to it
        means = [unfold(current, self.num_steps, held).mean(0) for current in currents]
        shifts = self._fit([t - mean for t, mean in zip(self.targets, means, strict=True)])
        if len(shifts[0]) != len(currents[0]):
            shifts = [Hold()(shift, self.num_steps) for shift in shifts]
        return [c + shift for c, shift in zip(currents, shifts, strict=True)], held

    def finish(self, outputs: list[Tensor]) -> None:
        """Fit the last layer to the ANN's logits."""
        if self.site is not None and self.shape == outputs[0].shape[1:]:
            self._fit([t - o for t, o in zip(self.targets, outputs, strict=True)])

    def _fit(self, residuals: list[Tensor]) -> list[Tensor]:
        """Change the layer; what that adds to its output."""
        site, inputs = self.site, self.inputs
        assert site is not None
        means = [
            x if len(x) == len(r) else unfold(x, self.num_steps).mean(0)
            for x, r in zip(inputs, residuals, strict=True)
        ]
        bias = torch.zeros_like(_parameter(site, "bias"))
        change = {"bias": bias}
        if has_own(self.net, site, "weight"):

            def through(weight: Tensor, index: int) -> Tensor:
                state = {"weight": weight, "bias": bias}
                out: Tensor = functional_call(site, state, (means[index],))
                return out

            change["weight"] = _least_squares(through, _parameter(site, "weight"), residuals)
            residuals = [r - through(change["weight"], i) for i, r in enumerate(residuals)]
        change["bias"] = _feature_means(residuals, site)
        for name, value in change.items():
            _add(site, name, value)
        return [functional_call(site, change, (x,)) for x in inputs]


class Biases(Corrector):
    """The bias at which each channel spikes on average as its ANN activates, by halving."""

    @staticmethod
    def of_ann(seen: Activation) -> Tensor:
        """The mean activation of each channel."""
        return mean_over_channels(seen.output)

    def corrected(self, currents: list[Tensor], held: int) -> tuple[list[Tensor], int]:
        """Search the bias of every channel at once."""
        site, twin, first = self.site, self.twin, currents[0]
        # A linear layer over tokens has its bias along the last dimension, not along channels.
        if site is None or twin is None or (isinstance(site, nn.Linear) and first.ndim != 2):
            return currents, held
        twin.fused = sum(c.numel() for c in currents) * max(held, 1) > _WORTH_COMPILING
        target = torch.cat(self.targets).mean(0)
        # A channel that cannot reach its target must not be pushed for ever.
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
        _add(site, "bias", bias)
        return [current + _along(bias, current) for current in currents], held


class Steps(Corrector):
    """A bias for each step: the mean current at every step shall be the ANN's.

    Attributes:
        bias: ``[T, C]``, once the layer has run.
    """

    bias: Tensor | None = None

    @staticmethod
    def of_ann(seen: Activation) -> Tensor:
        """The mean current of each channel."""
        return mean_over_channels(seen.current)

    def corrected(self, currents: list[Tensor], held: int) -> tuple[list[Tensor], int]:
        """Find the biases in closed form."""
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
    """The weights w, of few directions, for which the linear ``through(w, i)`` is near the i-th."""

    def adjoint(values: Sequence[Tensor]) -> Tensor:
        total = torch.zeros_like(like)
        for index, value in enumerate(values):
            with torch.enable_grad():
                at = torch.zeros_like(like).requires_grad_()
                total += torch.autograd.grad(through(at, index), at, value)[0]
        return total

    found, residuals = torch.zeros_like(like), list(wanted)
    slope = adjoint(residuals)
    direction, length = slope, slope.square().sum()
    for _ in range(_ITERATIONS):
        reached = [through(direction, index) for index in range(len(residuals))]
        size = sum((r.square().sum() for r in reached), torch.zeros_like(length))
        if not bool(size > 0):  # nothing is left to explain, or no input ever came
            break
        step = length / size
        found = found + step * direction
        residuals = [r - step * hit for r, hit in zip(residuals, reached, strict=True)]
        slope = adjoint(residuals)
        previous, length = length, slope.square().sum()
        direction = slope + (length / previous) * direction
    return found


def _feature_means(groups: Sequence[Tensor], site: nn.Module) -> Tensor:
    """Mean along the dimension of a layer's bias: the last of a linear layer, else the second."""
    dim = -1 if isinstance(site, nn.Linear) else 1
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
