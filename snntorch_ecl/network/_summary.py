"""``SpikingNetwork.summary()``: the network layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from torch import Tensor, nn
from torch.fx import GraphModule

from .._util.tables import render, table
from ..nn._dual_threshold import DualThreshold
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


def summarise(
    net: GraphModule, levels: Mapping[str, int | None], shapes: Mapping[str, tuple[int, ...]]
) -> Summary:
    """Describe a graph, given L by spiking layer and the known output shapes, without batch."""
    called = [str(n.target) for n in net.graph.nodes if n.op == "call_module"]
    modules = {name: net.get_submodule(name) for name in dict.fromkeys(called)}
    rows = [_row(name, m, shapes.get(name), levels.get(name)) for name, m in modules.items()]
    thresholds = sum(row.parameters for row in rows if row.threshold is not None)
    learned = {id(m.threshold) for m in modules.values() if isinstance(m, DualThreshold)}
    weights = sum(p.numel() for p in net.parameters() if id(p) not in learned)
    return Summary(tuple(row for row in rows if row.kind != "Hold"), weights + thresholds)


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
        theta = module.threshold.detach()
        threshold = (float(theta.min()), float(theta.max()))
        return Row(name, kind, shape, threshold, levels, theta.numel())
    return Row(name, kind, shape, None, levels, sum(p.numel() for p in module.parameters()))


def _cells(row: Row) -> tuple[str, ...]:
    theta = "–"
    if row.threshold is not None:
        low, high = row.threshold
        theta = f"{low:.4g}" if low == high else f"{low:.4g} … {high:.4g}"
    shape = "–" if row.shape is None else " × ".join(map(str, row.shape))
    levels = "–" if row.levels is None else str(row.levels)
    return row.name, row.kind, shape, theta, levels, f"{row.parameters:,}"
