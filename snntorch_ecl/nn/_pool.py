"""Exact max-pooling over spikes."""

from __future__ import annotations

from torch import nn

from ._difference import Difference


class SignedMaxPool(Difference):
    r"""Max-pooling whose output, summed over time, is the max-pooling of the summed input.

    A maximum is not linear, so pooling each step's spikes is wrong. Signed spikes allow what
    binary ones do not: emit the *change* of the pooled running sum,

    .. math:: o(t) = \mathrm{pool}(Σ_{τ≤t} x(τ)) − \mathrm{pool}(Σ_{τ<t} x(τ))

    If the spikes of a window share one threshold, θ·{−1, 0, +1}, so does the output. The sums are
    equal for any input, currents included. It is the :class:`~snntorch_ecl.nn.Difference` of a
    maximum, in which t drops out.

    Args:
        pool: The max-pooling layer, of any kind and dimension.

    Shape:
        Input ``[T·B, ...]``, output ``[T·B, ...]`` pooled; time-major.

    Raises:
        StateError: The shape changed in the middle of a sequence.

    Example:
        >>> import torch
        >>> pool = SignedMaxPool(nn.MaxPool1d(2))
        >>> spikes = torch.tensor([[[1.0, 0.0]], [[-1.0, 1.0]], [[0.0, 1.0]]])
        >>> pool(spikes, num_steps=3).flatten().tolist()  # running maxima 1, 1, 2
        [1.0, 0.0, 1.0]
    """

    def __init__(self, pool: nn.Module) -> None:
        super().__init__(pool, homogeneous=True)

    @property
    def pool(self) -> nn.Module:
        """The max-pooling layer."""
        assert isinstance(self.function, nn.Module)
        return self.function
