"""Spike rasters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._util.figures import ABOVE, NEGATIVE, POSITIVE
from ..errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor


def raster_axes(axes: Axes, spikes: Tensor) -> None:
    """Draw the spikes of one layer: a mark for each, in different colours for +1 and −1.

    Args:
        axes: The matplotlib axes to draw on.
        spikes: ``[T, neurons]``, in any unit: only their sign is used.

    Raises:
        InputError: The spikes are not two-dimensional.

    Example:
        >>> import torch
        >>> from matplotlib.figure import Figure
        >>> axes = Figure().subplots()
        >>> raster_axes(axes, torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
        >>> [marks.get_label() for marks in axes.collections]
        ['+1 (2)', '−1, taken back (1)']
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
