"""Spike rasters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._util.figures import ABOVE, NEGATIVE, POSITIVE
from ..errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor


def raster_axes(axes: Axes, spikes: Tensor) -> None:
    """Spikes of one layer: a mark for each, +1 and −1 in colours of their own.

    Args:
        axes: Where to draw.
        spikes: ``[T, neurons]``; any scale, only the sign counts.

    Raises:
        InputError: The spikes are not two-dimensional.
    """
    if spikes.ndim != 2:
        raise InputError(f"a raster needs spikes [T, neurons]; got shape {list(spikes.shape)}")
    for sign, colour, name in ((1, POSITIVE, "+1"), (-1, NEGATIVE, "−1, taken back")):
        step, neuron = (spikes.sign() == sign).nonzero(as_tuple=True)
        label = f"{name} ({len(step):,})"
        axes.scatter(step + 1, neuron, s=18, marker="|", color=colour, linewidths=2, label=label)
    axes.set_xlim(0.5, spikes.shape[0] + 0.5)
    axes.set_xticks(range(1, spikes.shape[0] + 1, max(1, spikes.shape[0] // 16)))
    axes.set_xlabel("time step")
    axes.set_ylabel("neuron")
    axes.legend(**ABOVE, ncols=2)
