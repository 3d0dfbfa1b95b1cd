"""``SpikingNetwork.summary()``: what the network is made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import Tensor, nn

from .guards import measuring
from .neuron import DualThreshold
from .tables import render, table

if TYPE_CHECKING:
    from .network import SpikingNetwork

__all__ = ["Row", "Summary", "summarise"]


@dataclass(frozen=True)
class Row:
    """One layer.

    Attributes:
        name: Qualified name.
        kind: Type of the layer.
        shape: Output shape without batch; None if no example was given.
        threshold: θ, smallest and largest over channels; None for layers that do not spike.
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
        parameters: Weights and thresholds of the whole network, those outside layers included.
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


def summarise(network: SpikingNetwork, *inputs: Tensor) -> Summary:
    """Build the summary of a network; see :meth:`SpikingNetwork.summary`."""
    called = [str(n.target) for n in network.net.graph.nodes if n.op == "call_module"]
    modules = {name: network.net.get_submodule(name) for name in dict.fromkeys(called)}
    shapes: dict[str, tuple[int, ...]] = {}
    if inputs:
        shapes = _measure(network, modules, inputs)
    levels = {layer.name: layer.levels for layer in network.layers}
    rows = []
    for name, module in modules.items():
        if isinstance(module, DualThreshold):
            theta = module.threshold.detach()
            threshold = (float(theta.min()), float(theta.max()))
            parameters = theta.numel()
        else:
            threshold = None
            parameters = sum(p.numel() for p in module.parameters())
        rows.append(
            Row(
                name,
                type(module).__name__,
                shapes.get(name),
                threshold,
                levels.get(name),
                parameters,
            )
        )
    thresholds = sum(row.parameters for row in rows if row.threshold is not None)
    learned = {id(n.threshold) for n in network.neurons.values()}
    weights = sum(p.numel() for p in network.parameters() if id(p) not in learned)
    return Summary(tuple(row for row in rows if row.kind != "Hold"), weights + thresholds)


def _measure(
    network: SpikingNetwork, modules: dict[str, nn.Module], inputs: tuple[Tensor, ...]
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shapes[name] = tuple(output.shape[1:])

        return hook

    hooks = [module.register_forward_hook(watch(name)) for name, module in modules.items()]
    try:
        with measuring(network), torch.no_grad():
            network(*inputs, num_steps=1)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def _cells(row: Row) -> tuple[str, ...]:
    theta = "–"
    if row.threshold is not None:
        low, high = row.threshold
        theta = f"{low:.4g}" if low == high else f"{low:.4g} … {high:.4g}"
    shape = "–" if row.shape is None else " × ".join(map(str, row.shape))
    levels = "–" if row.levels is None else str(row.levels)
    return row.name, row.kind, shape, theta, levels, f"{row.parameters:,}"
