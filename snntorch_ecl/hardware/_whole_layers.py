"""Layers of networks that compute with whole numbers.

Whole numbers are held in float64. A sum or product of whole numbers below 2^53 has no rounding
there, so it does not depend on the order in which a kernel adds, on the batch or on the device.
Kernels that transform their input first (Winograd, FFT) may err by far less than 1/2: every place
where a small error could matter rounds first. (torch has no convolutions for integers on GPUs.)
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .. import functional as F
from .._util.checks import at
from .._util.torch_internals import can_be_read
from ..errors import InputError, StateError
from ..functional._channels import over_channels
from ..functional._fused import Scanned
from ..graph._registry import LayerKind, add
from ..nn._dual_threshold import DualThreshold
from ..nn._state import state_for
from ._lines import weighed

EXACT = 2.0**52
"""Sums stay below this, so that float64 holds them, and halves of them, without rounding."""


class FixedPoint(nn.Module):
    """Turns numbers into whole ones: multiples of 2^−bits.

    Args:
        fraction_bits: How many binary places are kept.
        bits: Size of the numbers, sign included; None: any.

    Raises:
        InputError: A number does not fit.

    Example:
        >>> FixedPoint(2)(torch.tensor([0.3, -1.0])).tolist()
        [1.0, -4.0]
    """

    def __init__(self, fraction_bits: int, bits: int | None = None) -> None:
        super().__init__()
        self.fraction_bits, self.bits = fraction_bits, bits

    @property
    def largest(self) -> float:
        """The largest whole number."""
        return math.inf if self.bits is None else 2.0 ** (self.bits - 1) - 1

    def forward(self, input_: Tensor) -> Tensor:
        """Round ``[B, ...]``."""
        whole = (input_.double() * 2.0**self.fraction_bits).round()
        if self.bits is None:
            return whole
        fits = ~(whole.abs() > self.largest)  # NaN is found where inputs are checked
        if can_be_read(whole) and not bool(fits.all()):
            raise InputError(
                f"the input goes up to {float(input_.abs().max()):.4g}; as integers of {self.bits} "
                f"bits with {self.fraction_bits} binary places it ends at "
                f"{self.largest / 2**self.fraction_bits:.4g}. Call to_integers with more "
                "input_bits or fewer input_fraction_bits, or scale the data"
            )
        return whole.where(fits, math.nan)  # where values cannot be read, the neuron finds it

    def extra_repr(self) -> str:
        return f"fraction_bits={self.fraction_bits}, bits={self.bits}"


class Shift(nn.Module):
    """Divides each channel by a power of two and rounds, half up.

    Args:
        bits: ``[]``, or ``[C]`` over dimension 1.

    Example:
        >>> Shift(torch.tensor(2.0))(torch.tensor([5.0, 6.0, -6.0])).tolist()
        [1.0, 2.0, -1.0]
    """

    bits: Tensor

    def __init__(self, bits: Tensor) -> None:
        super().__init__()
        self.register_buffer("bits", bits)

    def forward(self, input_: Tensor) -> Tensor:
        """Shift ``[B, ...]``."""
        return (input_.round() / 2.0 ** over_channels(self.bits, input_) + 0.5).floor()


class ChannelWeights(nn.Module):
    """One whole weight, and one bias, for each channel: a synapse per value, or several.

    Args:
        weight: ``[]``, or ``[C]`` over dimension 1; or ``[N, C]``: N synapses, whose weights add
            up to what one would need more bits for.
        bias: ``[]``, ``[C]`` or None.

    Example:
        >>> ChannelWeights(torch.tensor([2.0, 3.0]))(torch.ones(1, 2)).tolist()
        [[2.0, 3.0]]
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, input_: Tensor) -> Tensor:
        """Weigh ``[B, ...]``."""
        current = weighed(input_, self.weight)
        return current if self.bias is None else current + over_channels(self.bias, input_)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        """Adopt the shape of loaded weights: one value, one per channel, or several of these."""
        stored = state.get(f"{prefix}weight")
        if stored is not None and stored.ndim <= 2:
            self.weight.data = torch.zeros_like(stored, dtype=torch.float64)
        super()._load_from_state_dict(state, prefix, *args)


class Readout(nn.Module):
    """Gives whole outputs their unit, a power of two: their sums over time are exact.

    Args:
        exponent: Binary places of the output, ``[]``.

    Example:
        >>> Readout(torch.tensor(3.0))(torch.tensor([12.0])).tolist()
        [1.5]
    """

    exponent: Tensor

    def __init__(self, exponent: Tensor) -> None:
        super().__init__()
        self.register_buffer("exponent", exponent)

    def forward(self, input_: Tensor) -> Tensor:
        """Scale ``[B, ...]``."""
        return input_.round() * 2.0**-self.exponent


add(FixedPoint, Shift, Readout, kind=LayerKind(keeps_dims=True))
add(ChannelWeights, kind=LayerKind(cost="synapses", keeps_dims=True))


class WholeNeuron(DualThreshold):
    """A dual-threshold neuron whose currents, threshold and membrane are whole numbers.

    Its unit is θ/2^k. Comparisons are those of :func:`snntorch_ecl.functional.dual_threshold_step`,
    with their edges rounded to whole numbers, which changes none of them.

    Args:
        worth: θ in the unit of the activation, ``[]`` or ``[C]``.
        bits: k, shaped alike: the threshold is 2^k.
        negative_threshold: θ′ in the unit of θ.
        initial_membrane: v(0) in units of θ.
        membrane_bits: Size of the membrane, sign included.
        flat: Whether it takes only ``[B, C]``.

    Raises:
        StateError: A membrane did not fit.

    Example:
        >>> neuron = WholeNeuron(torch.tensor(0.7), torch.tensor(3.0))  # v(0) = 4
        >>> neuron(torch.tensor([3.0, 4.0])).tolist(), neuron.mem.tolist()
        ([0.0, 1.0], [3, -4])
    """

    worth: Tensor
    _peak: Tensor | None = None  # the largest magnitude of a membrane in this sequence

    def __init__(
        self,
        worth: Tensor,
        bits: Tensor,
        *,
        negative_threshold: float = -1e-3,
        initial_membrane: float = 0.5,
        membrane_bits: int = 24,
        flat: bool = False,
    ) -> None:
        super().__init__(
            2.0**bits,
            negative_threshold=negative_threshold,
            initial_membrane=initial_membrane,
            surrogate_disable=True,
            init_hidden=True,
        )
        self.register_buffer("worth", worth.double().expand_as(bits).clone())
        self.membrane_bits, self.flat = membrane_bits, flat

    def _advance(self, run: Any, current: Tensor, one_step: Tensor) -> Scanned:
        if self.flat and one_step.ndim != 2:
            raise InputError(
                f"{at(self.qualified_name)}thresholds by channel were made for currents [B, C]; "
                f"got shape {list(one_step.shape)}"
            )
        theta, upper, lower, start = self._edges(one_step)
        kept, counted = self._state.get()
        state = state_for(one_step, kept, counted, self.qualified_name)
        mem, count = F.fresh_state(one_step) if state is None else state
        peak = None if counted is None else self._peak
        spikes = []
        for step in current.unsqueeze(0) if current is one_step else current:
            mem = mem + step.round()
            largest = (mem + start).abs().max()
            peak = largest if peak is None else torch.maximum(peak, largest)
            fires, takes_back = mem >= upper, (mem <= lower) & (count > 0)
            spikes.append(fires.to(step.dtype) - takes_back.to(step.dtype))
            mem, count = mem - theta * spikes[-1], count + spikes[-1].to(torch.int32)
        self._peak = peak
        spk = spikes[0] if current is one_step else torch.stack(spikes)
        return Scanned(spk, F.State(mem.to(torch.int32), count), None)

    def _edges(self, one_step: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """θ, where it fires, where it takes back, and v(0); the edges relative to v(0)."""
        theta = over_channels(self.threshold, one_step, self.qualified_name).double()
        worth = over_channels(self.worth, one_step, self.qualified_name)
        start = self.initial_membrane * theta
        lower = self.negative_threshold * theta / worth - start
        # θ′ = 0 is below 0, without equality.
        lower = lower.floor() if self.negative_threshold else lower.ceil() - 1
        return theta, (theta - start).ceil(), lower, start

    @property
    def largest(self) -> float:
        """The largest magnitude of a membrane."""
        return 2.0 ** (self.membrane_bits - 1) - 1

    @property
    def mem_sum(self) -> Tensor:
        """Finite if all membranes of the sequence did fit."""
        if self._peak is None:
            return self.mem.double().sum()
        fits = self._peak <= self.largest
        if can_be_read(fits) and not bool(fits):
            raise StateError(
                f"a membrane of {self.qualified_name} reached {float(self._peak):.4g}: more than "
                f"{self.membrane_bits} bits hold. Run fewer steps, or call to_integers with more "
                "membrane_bits"
            )
        return torch.where(fits, 0.0, math.inf)

    def begin(self) -> None:
        """Make the neuron fresh and free its state."""
        super().begin()
        self._peak = None

    def _without_state(self) -> dict[str, Any]:
        return {**super()._without_state(), "_peak": None}


add(WholeNeuron, kind=LayerKind(cost="neurons", keeps_dims=True))
