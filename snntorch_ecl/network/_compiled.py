"""Whole runs compiled: T steps of a network as one graph that keeps no state in memory.

Between two convolutions nothing is left but one pass over memory: it reads T currents and writes T
spikes, while membrane and count stay in registers.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from tqdm import tqdm

from .._util.compiler import compiled_whole
from .._util.torch_internals import with_dynamic_rows
from ..errors import StateError
from ..nn._dual_threshold import DualThreshold
from ..nn._temporal import temporal_layers

MOST_STEPS = 16
"""Steps in one graph: the loop over time is unrolled, and longer ones take minutes to compile."""


@dataclass
class _Graph:
    """One compiled run; ``traces`` counts how often the compiler has read the network."""

    run: Callable[..., Any]
    traces: list[None]
    failure: str = ""


class CompiledRuns:
    """Runs a network from a fresh state to a fresh state; one graph for each kind of run.

    Args:
        mode: As for ``torch.compile``; None lets the device decide.
        progress: Say on screen what is being compiled.
    """

    def __init__(self, mode: str | None, progress: bool) -> None:
        self._mode, self._progress = mode, progress
        self.graphs: dict[tuple[Any, ...], _Graph] = {}  # by kind of run

    def run(
        self, net: GraphModule, inputs: tuple[Tensor, ...], num_steps: int, held: int
    ) -> tuple[Any, Tensor] | None:
        """Outputs ``[T·B, ...]`` and each neuron's sum of membranes; None: it cannot be compiled.

        The outputs may lie in memory that the next run writes to.
        """
        kind = _kind(net, inputs, num_steps, held)
        new = kind not in self.graphs
        if new:
            self.graphs[kind] = _graph(num_steps, held, self._mode_for(inputs))
        graph = self.graphs[kind]
        if graph.failure:
            return None
        what = f"T = {num_steps}, inputs {_shapes(inputs)}"
        if new:
            self._say(f"compiling the network for {what}; this is done once")
        began, traces = time.monotonic(), len(graph.traces)
        rows = tuple(with_dynamic_rows(x) for x in inputs)
        layers = temporal_layers(net)
        neurons = [layer for layer in layers if isinstance(layer, DualThreshold)]
        try:
            found: tuple[Any, Tensor] = graph.run(net, layers, neurons, rows)
        except (StateError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # a compiler's failures have no common base
            if not new:
                raise
            graph.failure = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            return None
        if new:
            self._say(f"compiled in {time.monotonic() - began:.0f} s")
        elif len(graph.traces) > traces:
            self._say(
                f"compiled again for {what}, in {time.monotonic() - began:.0f} s, as a layer, a "
                "setting, the memory format or the batch's size has changed (TORCH_LOGS=recompiles "
                "tells which)"
            )
        return found

    def went_on_without(
        self, net: GraphModule, inputs: tuple[Tensor, ...], num_steps: int, held: int
    ) -> None:
        """Warn, once for a kind of run, that plain code can do what could not be compiled."""
        graph = self.graphs[_kind(net, inputs, num_steps, held)]
        if graph.failure != _SAID:
            warnings.warn(
                f"the network cannot be compiled for T = {num_steps}, inputs {_shapes(inputs)}, "
                f"and runs in plain code, its neurons compiled: {graph.failure}",
                stacklevel=6,
            )
            graph.failure = _SAID

    def _mode_for(self, inputs: tuple[Tensor, ...]) -> str | None:
        """CUDA graphs where there are no gradients: these need their buffers until the end."""
        if self._mode is None and inputs[0].is_cuda and not torch.is_grad_enabled():
            return "reduce-overhead"
        return self._mode

    def _say(self, text: str) -> None:
        if self._progress:
            tqdm.write(f"snntorch-ecl: {text}", file=sys.stderr)


_SAID = "it has been said"


def _kind(
    net: GraphModule, inputs: tuple[Tensor, ...], num_steps: int, held: int
) -> tuple[Any, ...]:
    """All that makes another graph: batches of two images and more share one."""
    device = inputs[0].device.type
    return (
        num_steps,
        held,
        net.training,
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device),
        tuple((x.shape[1:], x.dtype, x.device, x.shape[0] == 1) for x in inputs),
    )


def _shapes(inputs: tuple[Tensor, ...]) -> str:
    """Shapes and types, for people."""
    texts = []
    for x in inputs:
        batch = "1" if x.shape[0] == 1 else "B"
        sizes = ", ".join([batch, *map(str, x.shape[1:])])
        texts.append(f"[{sizes}] {str(x.dtype).removeprefix('torch.')}")
    return " and ".join(texts)


def _graph(num_steps: int, held: int, mode: str | None) -> _Graph:
    traces: list[None] = []

    # It runs while the compiler reads the code, and only then.
    @torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
    def read() -> int:
        traces.append(None)
        return 0

    def whole(
        net: GraphModule,
        layers: list[Any],
        neurons: list[DualThreshold],
        inputs: tuple[Tensor, ...],
    ) -> tuple[Any, Tensor]:
        read()
        for layer in layers:
            layer.begin()
        output = net(*inputs, num_steps=num_steps, held=held)
        sums = torch.stack([neuron.mem_sum for neuron in neurons])
        for layer in layers:  # what nobody reads any more is not stored
            layer.begin()
        return output, sums

    # The compiler counts graphs by the code that they come from: each kind of run has its own.
    own = FunctionType(whole.__code__.replace(), globals(), whole.__name__, None, whole.__closure__)
    return _Graph(compiled_whole(own, mode), traces)
