"""What ``print(snn)`` shows, the network in a few lines; and ``summary()``, layer by layer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from torch import Tensor, nn
from torch.fx import GraphModule

from .._util.tables import as_html, render, table
from ..nn._dual_threshold import DualThreshold
from ..nn._stepwise import Stepwise
from ._layer import levels_per_step
from ._observe import Observer, Seen


@dataclass(frozen=True)
class Row:
    """One layer.

    Attributes:
        name: Qualified name.
        kind: Type of the layer.
        shape: Output shape without the batch; None if no example was given.
        threshold: Smallest and largest θ of its channels; None for layers that do not spike.
        levels: L of the activation it came from.
        parameters: Number of weights and thresholds.
    """

    name: str
    kind: str
    shape: tuple[int, ...] | None
    threshold: tuple[float, float] | None
    levels: int | None
    parameters: int


@dataclass(frozen=True)
class Summary:
    """Layer by layer: shape, θ, L and parameters. ``print`` it, or take ``to_dict()``.

    Attributes:
        rows: The layers, in the order in which they run.
        parameters: Number of weights and thresholds in the whole network, also outside layers.
    """

    rows: tuple[Row, ...]
    parameters: int

    def table(self) -> Table:
        """A rich table."""
        return table(
            f"SpikingNetwork, {self.parameters:,} parameters",
            ("layer", "type", "shape", "θ", "L", "parameters"),
            [_cells(row) for row in self.rows],
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {"layers": [asdict(row) for row in self.rows], "parameters": self.parameters}

    def __str__(self) -> str:
        return render(self.table())

    def _repr_html_(self) -> str:
        return as_html(self.table())


def summarise(
    net: GraphModule, levels: Mapping[str, int | None], shapes: Mapping[str, tuple[int, ...]]
) -> Summary:
    """Describe a graph, given L by spiking layer and the known output shapes, without batch."""
    called = [str(n.target) for n in net.graph.nodes if n.op == "call_module"]
    modules = {name: net.get_submodule(name) for name in dict.fromkeys(called)}
    rows = [_row(name, m, shapes.get(name), levels.get(name)) for name, m in modules.items()]
    return Summary(tuple(row for row in rows if row.kind != "Hold"), _parameters(net))


def _parameters(net: GraphModule) -> int:
    """Number of weights and thresholds; a threshold that is not learned is no parameter."""
    thresholds = [m.threshold for m in net.modules() if isinstance(m, DualThreshold)]
    learned = {id(theta) for theta in thresholds}
    weights = [p for p in net.parameters() if id(p) not in learned]
    return sum(tensor.numel() for tensor in (*weights, *thresholds))


class ShapeObserver(Observer):
    """Records each layer's output shape, without the batch."""

    def __init__(self, net: GraphModule) -> None:
        super().__init__({str(n.target) for n in net.graph.nodes if n.op == "call_module"})
        self.shapes: dict[str, tuple[int, ...]] = {}

    def see(self, seen: Seen) -> None:
        """Record it; of a layer that is called several times, the last call's."""
        if isinstance(seen.output, Tensor):
            self.shapes[seen.name] = tuple(seen.output.shape[1:])


def _row(name: str, module: nn.Module, shape: tuple[int, ...] | None, levels: int | None) -> Row:
    kind = type(module).__name__
    if isinstance(module, DualThreshold):
        return Row(name, kind, shape, _range(module), levels, module.threshold.numel())
    return Row(name, kind, shape, None, levels, sum(p.numel() for p in module.parameters()))


_FIRST, _LAST = 8, 3  # layers that overview() lists of a deep network


def overview(snn: Any) -> str:
    """A ``SpikingNetwork`` in a few lines: its neurons, their θ, the T it is made for."""
    neurons = {layer.name: snn.net.get_submodule(layer.name) for layer in snn.layers}
    kinds = Counter(map(_kind, neurons.values()))
    listed = " and ".join(f"{n} layer{'s' * (n > 1)} of {kind}" for kind, n in kinds.items())
    width = max(map(len, neurons), default=0)
    lines = [f"{name:{width}}  {_theta(neuron)}" for name, neuron in neurons.items()]
    if (hidden := len(lines) - _FIRST - _LAST) > 1:
        lines[_FIRST:-_LAST] = [f"… {hidden} more layers …"]
    facts = [
        f"{_made_for(snn)}, {_parameters(snn.net):,} parameters",
        _spikes(snn),
        "batch norms not folded" if snn.norms == "kept" else "",
        "compiled time loop" if any(getattr(n, "fused", False) for n in neurons.values()) else "",
    ]
    return "\n  ".join(
        [
            f"SpikingNetwork with {listed}",
            "; ".join(filter(None, facts)),
            *lines,
            "(all layers and their shapes: snn.summary(images))",
        ]
    )


def _kind(neuron: nn.Module) -> str:
    """The type of a layer's neurons, in words."""
    if isinstance(neuron, DualThreshold):
        return "IF neurons" if math.isinf(neuron.negative_threshold) else "dual-threshold neurons"
    return type(neuron.neuron if isinstance(neuron, Stepwise) else neuron).__name__


def _spikes(snn: Any) -> str:
    """What a spike is worth, and how many values it can have if these are more than usual."""
    sizes = sorted({neuron.spike_sizes for neuron in snn.neurons.values()})
    if sizes in ([], [1]):
        return "spikes of −1, 0 and +1" if snn.unit_spikes else "spikes worth θ"
    listed = " or ".join(map(str, sizes))
    worth = "1, 1/2, …" if snn.unit_spikes else "θ, θ/2, …"
    levels = levels_per_step(snn.neurons.values())
    return f"spikes of {listed} sizes ({worth}): {levels} levels a step"


def _made_for(snn: Any) -> str:
    """The T that a network is made for: the number of levels its activations had."""
    latency = getattr(snn, "latency", None)  # of a lowered network
    if latency is not None:
        return f"made for runs of {latency} steps"
    known = sorted({layer.levels for layer in snn.layers if layer.levels is not None})
    if not known:
        return "made for many time steps"
    return f"made for T = L = {known[0]}" + (f" to {known[-1]}" if len(known) > 1 else "")


def _theta(neuron: nn.Module) -> str:
    """The θ of a layer's neurons, or its range over the channels."""
    if not isinstance(neuron, DualThreshold):
        return _kind(neuron)
    if neuron.threshold.is_meta:
        return "θ without a value, on the meta device"
    return f"θ = {_span(*_range(neuron))}"


def _range(neuron: DualThreshold) -> tuple[float, float]:
    """The smallest and the largest θ."""
    low, high = neuron.threshold.detach().aminmax()
    return float(low), float(high)


def _span(low: float, high: float) -> str:
    return f"{low:.4g}" if low == high else f"{low:.4g} … {high:.4g}"


def _cells(row: Row) -> tuple[str, ...]:
    theta = "–" if row.threshold is None else _span(*row.threshold)
    shape = "–" if row.shape is None else " × ".join(map(str, row.shape))
    levels = "–" if row.levels is None else str(row.levels)
    return row.name, row.kind, shape, theta, levels, f"{row.parameters:,}"
