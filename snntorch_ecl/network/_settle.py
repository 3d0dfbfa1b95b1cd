"""Run a network until it falls silent: the input once, as a pulse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from .._util.checks import check_whole_numbers
from ..errors import UnsupportedError
from ..functional._channels import over_channels
from ..functional._edges import CountBounds
from ..functional._neuron import State, unchecked_step
from ..graph._names import module_of
from ..nn import Difference, DualThreshold, StepBias, Temporal
from ._explained import explained
from ._guards import Finite, check_inputs, see_inputs
from ._layer import Layer


@dataclass(frozen=True)
class Settled:
    """The answer of a network that has fallen silent.

    Attributes:
        output: What the ANN returns, ``[B, ...]``.
        steps: The step of each image's last spike, ``[B]``; after it nothing spikes.
        silent: Whether each image has fallen silent, ``[B]``: then its output is the quantised
            network's own. False only where ``max_steps`` came first.
        spikes: Spikes of either sign of each image, ``[B]``.
        neurons: Number of neurons, for one image.
    """

    output: Any
    steps: Tensor
    silent: Tensor
    spikes: Tensor
    neurons: int


class Settles(nn.Module):
    """A network that can settle; the base of :class:`~snntorch_ecl.SpikingNetwork`."""

    net: GraphModule
    layers: tuple[Layer, ...]
    _arity: int
    _turn: Any

    def settle(self, *inputs: Tensor, max_steps: int | None = None) -> Settled:
        r"""Give the inputs once, as a pulse, and run until nothing spikes.

        The neurons are those of ``forward`` with a threshold of λ/L and a net count that is bounded
        by what the clip can have, from 0 (signed: −L) to L. The first step brings inputs and
        biases; later ones only spikes. So a membrane is :math:`v = λ/2L + z - n·λ/L`, with z the
        sum of all that came in. A neuron is silent only where :math:`0 ≤ v < λ/L`, or its count is
        at a bound and v is beyond it: where :math:`n = \mathrm{clip}(⌊z·L/λ + 1/2⌋)`. When all are
        silent, each is at its clip's value for the sum that it gets, and the output is that of the
        quantised network, the prepared one: equal up to the rounding of sums. As no neuron hears
        itself, this always comes. What is carried in floating point is computed on sums as well.

        Before the end the output means little: below about 2L steps the constant current of
        ``forward`` is better. The network's own state is not touched.

        Args:
            *inputs: ``[B, ...]``, as the ANN takes them.
            max_steps: Stop then, silent or not; None goes on to the end.

        Returns:
            The output, and when each image fell silent.

        Raises:
            ConfigError: max_steps < 1.
            UnsupportedError: A layer has no levels, spikes of several sizes, or corrections of
                single steps; or is another neuron, or another layer with state. All are listed.
            InputError: As ``forward``.

        Source: the neuron is that of SpikeZIP-TF (You et al., ICML 2024), here with a pulse as
        input.

        Example:
            >>> from snntorch_ecl import ThresholdClip, convert
            >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
            >>> images = torch.rand(3, 8)
            >>> settled = convert(ann).settle(images)
            >>> bool(settled.silent.all()), torch.allclose(settled.output, ann(images), atol=1e-6)
            (True, True)
        """
        check_inputs(inputs, self._arity)
        if max_steps is not None:
            check_whole_numbers("max_steps", (max_steps,), lowest=1)
        _check(self.net, self.layers)
        finite = Finite()
        see_inputs(finite, inputs)
        finite.read()
        with explained(self, inputs), self._turn.run(), torch.no_grad():
            return _settled(_Totals(self.net, self.layers), inputs, max_steps)


def _settled(run: _Totals, inputs: tuple[Tensor, ...], max_steps: int | None) -> Settled:
    rows, device = inputs[0].shape[0], inputs[0].device
    steps = torch.zeros(rows, dtype=torch.int64, device=device)
    spikes, silent, taken, output = torch.zeros_like(steps), torch.zeros_like(steps).bool(), 0, None
    while not bool(silent.all()) and (max_steps is None or taken < max_steps):
        taken += 1
        output = run.run(*inputs, 1, 1)
        fired = run.fired(rows)
        silent = fired == 0
        steps = torch.where(silent, steps, taken)
        spikes = spikes + fired
    neurons = sum(count.numel() for count in run.counts.values()) // rows
    return Settled(output, steps, silent, spikes, neurons)


class _Totals(Interpreter):
    """Runs the graph on the sums over time of all values, one step after the other.

    All between neurons is a function of sums: a pulse brings biases once, so that affine layers
    give the sum of their outputs for the sum of their inputs, and what is carried is carried so.
    """

    def __init__(self, net: GraphModule, layers: Iterable[Layer]) -> None:
        super().__init__(net)
        self.extra_traceback = False
        self._levels = {layer.name: layer.levels for layer in layers}
        self.counts: dict[str, Tensor] = {}
        self._spikes: list[Tensor] = []

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """One step."""
        self._spikes = []
        return super().run(*args, **kwargs)

    def fired(self, rows: int) -> Tensor:
        """How often each image's neurons fired in the last step, ``[B]``."""
        return torch.stack([s.reshape(rows, -1).ne(0).sum(1) for s in self._spikes]).sum(0)

    def run_node(self, n: Node) -> Any:
        """Run one node; neurons and carried functions on sums."""
        module: Any = module_of(self.module, n)  # type: ignore[arg-type]
        if isinstance(module, DualThreshold):
            (total, *_), _ = self.fetch_args_kwargs_from_env(n)
            return self._neuron(str(n.target), module, total)
        if isinstance(module, Difference):
            args, _ = self.fetch_args_kwargs_from_env(n)
            return module.function(*args)
        return super().run_node(n)

    def _neuron(self, name: str, neuron: DualThreshold, total: Tensor) -> Tensor:
        levels = self._levels[name]
        assert levels is not None  # _check has seen it
        theta = over_channels(neuron._theta().detach(), total, name).to(total) / levels
        count = self.counts.get(name)
        if count is None:
            count = torch.zeros_like(total, dtype=torch.int32)
        bounds: CountBounds = (-levels if neuron.signed else 0, levels)
        # The membrane without this step's total: so nothing is added up, and nothing rounded twice.
        state = State(-theta * count, count)
        spikes, after = unchecked_step(total, state, theta, 0.0, 0.5, None, 1, bounds)
        self._spikes.append(spikes)
        self.counts[name] = after.spike_count
        worth = over_channels(neuron.graded_spikes_factor.detach(), total, name).to(total)
        return after.spike_count.to(total.dtype) * worth / levels


def _check(net: GraphModule, layers: Iterable[Layer]) -> None:
    levels: Mapping[str, int | None] = {layer.name: layer.levels for layer in layers}
    refused = []
    for node in net.graph.nodes:
        module = module_of(net, node)
        why = None if module is None else _objection(module, levels.get(str(node.target)))
        if why is not None:
            refused.append(f"{node.target} ({type(module).__name__}): {why}")
    if refused:
        raise UnsupportedError(
            refused,
            "A network settles if all its neurons come from clips with levels: prepare(model, "
            "levels=L), and convert with spike_sizes=1.",
        )


def _objection(module: nn.Module, levels: int | None) -> str | None:
    if type(module) is DualThreshold:
        if levels is None:
            return "its clip has no levels"
        return None if module.spike_sizes == 1 else "its spikes have several sizes"
    if isinstance(module, StepBias):
        return "it corrects single steps of a constant current"
    stateful = any(isinstance(m, (Temporal, DualThreshold)) for m in module.modules())
    return "it has a state of its own" if stateful and not isinstance(module, Difference) else None
