"""Spike rasters, drawn with snnTorch's ``spikeplot``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .._util.checks import check_whole_numbers
from .._util.devices import device_of
from .._util.figures import ABOVE, NEGATIVE, POSITIVE, new_figure
from .._util.optional import require
from ..errors import ConfigError, InputError
from ..network import Observer, Seen, SpikingNetwork
from ..network._check_spiking import check_spiking
from ..network._guards import measuring
from ..nn import unfold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LAYERS = 6  # drawn by default
_COLUMNS = 3


def plot_spikes(
    snn: SpikingNetwork,
    *inputs: Tensor,
    num_steps: int | None = None,
    layers: Sequence[str] | None = None,
    neurons: int = 30,
) -> Figure:
    """Draw when neurons spike for one input, layer by layer: +1 in blue, −1 in orange.

    The neurons shown are a sample of those that spike at all. They are sorted by what they have
    emitted at the end: on top those with the most spikes. Needs matplotlib and pandas, which
    snnTorch's ``spikeplot`` imports (extra ``demo``).

    Args:
        snn: The spiking network. Its state is reset.
        *inputs: ``[B, ...]``, as the ANN takes them, held constant for ``num_steps``; or
            ``[T, B, ...]`` without it, one input for each step. The first of the batch is drawn.
        num_steps: T ≥ 1; None for inputs that change over time.
        layers: Names of the layers to draw, among ``snn.neurons``. None draws all; of more than
            six, six from the first to the last.
        neurons: Largest number of neurons to draw of a layer, ≥ 1.

    Returns:
        The figure. A notebook shows it, ``figure.savefig("spikes.png")`` writes it.

    Raises:
        ConfigError: num_steps or neurons < 1, or a layer that has no dual-threshold neurons.
        InputError, StateError: As for :meth:`SpikingNetwork.forward`.
        MissingDependencyError: matplotlib or pandas is not installed.

    Example:
        >>> import snntorch_ecl as ecl
        >>> ann = torch.nn.Sequential(ecl.ThresholdClip(4, 1.0), torch.nn.Linear(8, 2))
        >>> figure = ecl.plot_spikes(ecl.convert(ann), torch.rand(1, 8), num_steps=4)
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['time step']
    """
    check_spiking(snn)
    check_whole_numbers("neurons", (neurons,), lowest=1)
    recorder = _Recorder(_chosen(list(snn.neurons), layers))
    first = [x[:1] if num_steps is not None else x[:, :1] for x in inputs]
    first = [x.to(device_of(snn)) for x in first]
    with measuring(snn), torch.no_grad():
        if num_steps is None:
            snn.forward_steps(*first, observers=[recorder])
        else:
            snn.logits_over_time(*first, num_steps=num_steps, observers=[recorder])
    spikes = {name: torch.cat(recorder.pieces[name]).flatten(1) for name in recorder.pieces}
    return _panels(spikes, neurons)


class _Recorder(Observer):
    """Keeps the spikes of some layers, ``[T, ...]``; runs must be of one image."""

    def __init__(self, layers: Sequence[str]) -> None:
        super().__init__(layers)
        self.pieces: dict[str, list[Tensor]] = {name: [] for name in layers}

    def see(self, seen: Seen) -> None:
        """Keep some steps."""
        self.pieces[seen.name].append(unfold(seen.output, seen.num_steps)[:, 0].sign().cpu())


def _chosen(names: list[str], layers: Sequence[str] | None) -> list[str]:
    """The layers to draw, in the order in which they run or were asked for."""
    if layers is None:
        if not names:
            raise ConfigError("the network has no dual-threshold neuron: it has no spikes to draw")
        last = len(names) - 1
        places = torch.linspace(0, last, min(len(names), _MOST_LAYERS)).round().int().tolist()
        return [names[place] for place in places]
    if unknown := [name for name in layers if name not in names]:
        raise ConfigError(
            f"no dual-threshold neurons in {', '.join(map(repr, unknown))}; the layers that have "
            f"some are {', '.join(names)}"
        )
    return list(layers)


def _panels(spikes: dict[str, Tensor], neurons: int) -> Figure:
    """One raster for each layer."""
    columns = min(len(spikes), _COLUMNS)
    rows = -(-len(spikes) // columns)
    figure, _ = new_figure(
        rows=rows, columns=columns, size=(max(5.0, 3.4 * columns), 2.7 * rows + 0.5)
    )
    for axes, (name, found) in zip(figure.axes, spikes.items(), strict=False):
        shown = _sample(found, neurons)
        _draw(axes, shown)
        axes.set_title(f"{name}: {(found > 0).sum():,} × +1, {(found < 0).sum():,} × −1", size=9)
        active = int((found != 0).any(0).sum())
        axes.set_ylabel(f"{shown.shape[1]} of {active:,} active neurons", size=9)
    for axes in figure.axes[len(spikes) :]:
        axes.remove()
    marks = figure.axes[0].collections[-2:]
    figure.legend(
        marks, ["+1", "−1, taken back"], loc="outside upper center", ncols=2, frameon=False
    )
    return figure


def _sample(spikes: Tensor, neurons: int) -> Tensor:
    """Some of the neurons that spike ``[T, N]``, evenly from all over the layer, sorted by sum."""
    (active,) = (spikes != 0).any(0).nonzero(as_tuple=True)
    places = torch.linspace(0, max(0, len(active) - 1), min(len(active), neurons)).round().long()
    shown = spikes[:, active[places]]
    return shown[:, shown.sum(0).argsort(stable=True)]


def _draw(axes: Axes, spikes: Tensor) -> None:
    """Mark the spikes ``[T, N]``; steps count from 1."""
    spikeplot = require("snntorch.spikeplot", extra="demo")
    from_one = torch.cat([torch.zeros_like(spikes[:1]), spikes])
    width = min(7.0, 110 / len(spikes))  # in points: marks of neighbouring steps do not touch
    for sign, colour in ((1, POSITIVE), (-1, NEGATIVE)):
        fired = from_one.sign() == sign
        spikeplot.raster(fired, axes, s=12, marker="|", color=colour, linewidths=width)
    axes.set_xlim(0.5, spikes.shape[0] + 0.5)
    axes.set_xticks(range(1, spikes.shape[0] + 1, -(-spikes.shape[0] // 10)))
    axes.set_xlabel("time step")


def raster_axes(axes: Axes, spikes: Tensor) -> None:
    """Draw the spikes of one layer: a mark for each, in different colours for +1 and −1.

    Args:
        axes: The matplotlib axes to draw on.
        spikes: ``[T, neurons]``, in any unit: only their sign is used.

    Raises:
        InputError: The spikes are not two-dimensional.
        MissingDependencyError: pandas is not installed; snnTorch's ``spikeplot`` imports it.

    Example:
        >>> from matplotlib.figure import Figure
        >>> axes = Figure().subplots()
        >>> raster_axes(axes, torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
        >>> [marks.get_label() for marks in axes.collections]
        ['+1 (2)', '−1, taken back (1)']
    """
    if spikes.ndim != 2:
        raise InputError(f"a raster needs spikes [T, neurons]; got shape {list(spikes.shape)}")
    _draw(axes, spikes)
    counts = (spikes > 0).sum(), (spikes < 0).sum()
    names = "+1", "−1, taken back"
    for marks, name, count in zip(axes.collections, names, counts, strict=True):
        marks.set_label(f"{name} ({count:,})")
    axes.set_ylabel("neuron")
    axes.legend(**ABOVE, ncols=2)
