"""What ``energy`` returns: operations and joules of each layer, as a table and a figure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from .._util.figures import ABOVE, LINES, POSITIVE, new_figure
from .._util.results import Result
from .._util.tables import table
from ..errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Constants:
    """Energy of one operation, in picojoules.

    The defaults are those of the literature: 32-bit floating point at 45 nm, 3.7 pJ for a
    multiplication and 0.9 pJ for an addition. They do not include memory traffic and static power.

    Attributes:
        mac: A multiplication with addition, pJ.
        ac: An addition, pJ.
        update: One neuron's update in one step, pJ; 0 in the literature, but not on a chip.
        flop: A floating-point operation of a layer that no spike drives, pJ: a multiplication.

    Raises:
        ConfigError: A value is negative or not finite.

    Source: Horowitz, "Computing's Energy Problem (and What We Can Do About It)", ISSCC 2014.

    Example:
        >>> Constants(update=1.5)
        Constants(mac=4.6, ac=0.9, update=1.5, flop=3.7)
    """

    mac: float = 4.6
    ac: float = 0.9
    update: float = 0.0
    flop: float = 3.7

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigError(f"{name} must be finite and >= 0 picojoules; got {value!r}")


@dataclass(frozen=True)
class LayerCost:
    """The operations of one layer for one image, over all T steps.

    Attributes:
        name: Qualified name.
        kind: Type of the layer.
        macs: Multiplications with addition.
        acs: Additions triggered by spikes, of either sign and any size.
        ann_macs: Multiplications with addition in the ANN's layer.
        floats: Floating-point operations that no spike drives, in layers that are not affine.
        ann_floats: Those of the ANN's layer.
        updates: Neuron updates.
        spikes: Spikes of either sign.
        negative: Spikes taken back.
        neurons: Number of neurons.
        parameters: Number of weights, biases and thresholds.
        state_bytes: Memory of membranes and spike counts, in bytes.
    """

    name: str
    kind: str
    macs: float = 0.0
    acs: float = 0.0
    ann_macs: float = 0.0
    floats: float = 0.0
    ann_floats: float = 0.0
    updates: float = 0.0
    spikes: float = 0.0
    negative: float = 0.0
    neurons: int = 0
    parameters: int = 0
    state_bytes: int = 0


@dataclass(frozen=True)
class Energy(Result):
    """The result of :func:`energy`, for one image. ``print`` it, take ``to_dict()``, or draw it.

    Attributes:
        samples: Images it was measured on.
        num_steps: Number of time steps, T.
        layers: In the order in which they run.
        not_counted: Names of layers and operations that compute but are not counted.
        constants: Energy of each operation.
        levels_per_step: Values that a spike can have, silence included; 3, or 2K + 1 of K sizes.
    """

    samples: int
    num_steps: int
    layers: tuple[LayerCost, ...]
    not_counted: tuple[str, ...]
    constants: Constants
    levels_per_step: int = 3

    def total(self, quantity: str) -> float:
        """Sum of a quantity over all layers, for one image and all T steps.

        Args:
            quantity: A numeric field of :class:`LayerCost`, such as ``"macs"``.

        Returns:
            The sum, in the unit of the quantity (operations, spikes, neurons or bytes).
        """
        return float(sum(getattr(layer, quantity) for layer in self.layers))

    def joules(self, layer: LayerCost) -> float:
        """Energy of a layer of the spiking network.

        Args:
            layer: One of ``layers``.

        Returns:
            Joules for one image, over all T steps.
        """
        picojoules = (
            layer.macs * self.constants.mac
            + layer.acs * self.constants.ac
            + layer.floats * self.constants.flop
            + layer.updates * self.constants.update
        )
        return picojoules * 1e-12

    def ann_joules(self, layer: LayerCost) -> float:
        """Energy of the ANN's layer.

        Args:
            layer: One of ``layers``.

        Returns:
            Joules for one image.
        """
        macs, floats = layer.ann_macs * self.constants.mac, layer.ann_floats * self.constants.flop
        return (macs + floats) * 1e-12

    @property
    def float_share(self) -> float:
        """The share of its operations that no spike drives: floating point at every step."""
        floats = self.total("floats")
        operations = floats + self.total("macs") + self.total("acs")
        return floats / operations if operations else 0.0

    @property
    def snn_total(self) -> float:
        """Joules of the spiking network for one image."""
        return sum(map(self.joules, self.layers))

    @property
    def ann_total(self) -> float:
        """Joules of the ANN for one image."""
        return sum(map(self.ann_joules, self.layers))

    def table(self) -> Table:
        """Operations of each layer for one image, and the energy of the whole network."""
        rows = [_cells(layer) for layer in self.layers]
        quantities = [self.total(name) for name in ("macs", "acs", "ann_macs")]
        rate = _rate(self.total("spikes"), self.total("neurons"))
        memory = map(_count, (self.total("parameters"), self.total("state_bytes")))
        rows.append(("all", *map(_count, quantities), rate, *memory))
        ratio = self.snn_total / self.ann_total if self.ann_total else math.nan
        missing = ", ".join(self.not_counted) or "nothing"
        floats = ""
        if self.float_share:
            floats = (
                f" {_count(self.total('floats'))} floating-point operations, "
                f"{100 * self.float_share:.1f} % of all, are done at every step, spikes or not: "
                "layers that are not affine."
            )
        sizes = ""
        if self.levels_per_step > 3:
            sizes = (
                f" Spikes have several sizes, {self.levels_per_step} levels a step: each counts as "
                "one addition of a shifted weight."
            )
        return table(
            f"One image, T = {self.num_steps}: {1e6 * self.snn_total:.4g} µJ, its ANN "
            f"{1e6 * self.ann_total:.4g} µJ (ratio {ratio:.3f})",
            ("layer", "MACs", "ACs", "ANN's MACs", "spikes / neuron", "weights", "state, bytes"),
            rows,
            note=f"{self.total('updates'):,.0f} neuron updates at {self.constants.update:g} pJ. "
            f"Not counted: memory traffic, static power, {missing}.{floats}{sizes}",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        totals = {"snn_joules": self.snn_total, "ann_joules": self.ann_total}
        return {**asdict(self), **totals, "float_share": self.float_share}

    def plot(self) -> Figure:
        """Energy of each layer with synapses, beside its ANN's (needs matplotlib)."""
        layers = [layer for layer in self.layers if layer.ann_macs]
        figure, axes = new_figure(size=(7.0, max(3.0, 0.32 * len(layers) + 1.2)))
        for offset, joules, colour, label in (
            (-0.2, self.ann_joules, LINES[1], f"ANN, {1e6 * self.ann_total:.3g} µJ"),
            (
                0.2,
                self.joules,
                POSITIVE,
                f"SNN, T = {self.num_steps}, {1e6 * self.snn_total:.3g} µJ",
            ),
        ):
            places = [index + offset for index in range(len(layers))]
            axes.barh(places, [1e6 * joules(la) for la in layers], 0.4, color=colour, label=label)
        axes.set_yticks(range(len(layers)), [layer.name for layer in layers])
        axes.invert_yaxis()
        axes.set_xlabel("µJ for one image")
        axes.legend(**ABOVE, ncols=2)
        axes.grid(axis="x", alpha=0.25)
        return figure


def _cells(layer: LayerCost) -> tuple[str, ...]:
    synapses = map(_count, (layer.macs, layer.acs, layer.ann_macs))
    rate = _rate(layer.spikes, layer.neurons)
    return (layer.name, *synapses, rate, _count(layer.parameters), _count(layer.state_bytes))


def _count(number: float) -> str:
    """A number in at most seven characters: k, M and G are 10³, 10⁶ and 10⁹."""
    for lowest, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if number >= lowest:
            return f"{number / unit:.1f} {letter}"
    return f"{number:,.0f}" if number else "–"


def _rate(spikes: float, neurons: float) -> str:
    return f"{spikes / neurons:.3f}" if neurons else "–"
