"""Whole runs of a network: split into groups and pieces, and joined to one output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from .._util.checks import check_num_steps, check_whole_numbers
from .._util.torch_internals import can_be_read, has_hooks, is_compiling, observed_globally
from ..errors import ConfigError, StateError
from ..nn._difference import Difference
from ..nn._dual_threshold import DualThreshold
from ..nn._step_bias import StepBias
from ..nn._temporal import Temporal, temporal_layers
from . import _pieces as pieces
from ._compiled import MOST_STEPS, CompiledRuns
from ._guards import (
    Finite,
    check_inputs,
    check_sequences,
    membrane_sums,
    see_inputs,
    see_membranes,
)
from ._observe import Observer
from ._readout import average, concatenated, over_time, running_sums


@dataclass(frozen=True)
class Stimulus:
    """The inputs of a run.

    Attributes:
        inputs: ``[B, ...]`` if they are held, else ``[T·B, ...]``, time-major.
        num_steps: Number of time steps, T.
        held: Whether the inputs are the same at every step.
        piece: Steps to run at once; None: choose automatically.
    """

    inputs: tuple[Tensor, ...]
    num_steps: int
    held: bool = True
    piece: int | None = None

    def __post_init__(self) -> None:
        if self.piece is not None:
            check_whole_numbers("piece", (self.piece,), lowest=1)

    @property
    def images(self) -> int:
        """B."""
        rows = self.inputs[0].shape[0]  # len() would fix the batch size of an exported program
        return rows if self.held else rows // self.num_steps

    @property
    def as_called(self) -> tuple[tuple[Tensor, ...], int, int]:
        """Inputs, ``num_steps`` and ``held``, as a network's graph takes them."""
        return self.inputs, self.num_steps, self.num_steps if self.held else 1

    def groups(self, images: int) -> list[Stimulus]:
        """Stimuli of a few images each; inputs that are not held stay whole, as rows alternate."""
        if not self.held or images >= self.images:
            return [self]
        # Of about the same size: a last group of one image would be compiled for itself.
        count = -(-self.images // images)
        parts = zip(*(torch.tensor_split(x, count) for x in self.inputs), strict=True)
        return [replace(self, inputs=inputs) for inputs in parts]


def constant(
    inputs: tuple[Tensor, ...], arity: int, num_steps: int | None, piece: int | None
) -> Stimulus:
    """Inputs ``[B, ...]``, checked, to be held for T steps."""
    if num_steps is None:
        raise ConfigError(
            "num_steps must be an integer >= 1; got None. snn(x, num_steps=T) runs T steps, "
            "snn.step(x) one. For loops that call net(x) at each step, as in "
            "snntorch.backprop, pass snntorch_ecl.network.StepByStep(snn)"
        )
    check_num_steps(num_steps)
    check_inputs(inputs, arity)
    return Stimulus(inputs, num_steps, piece=piece)


def sequence(inputs: tuple[Tensor, ...], arity: int, piece: int | None) -> Stimulus:
    """Inputs ``[T, B, ...]``, checked, one for each step."""
    check_sequences(inputs, arity)
    rows = tuple(x.flatten(0, 1) for x in inputs)
    return Stimulus(rows, inputs[0].shape[0], held=False, piece=piece)


class Runner:
    """Runs stimuli from a fresh state; remembers how large the network's tensors are."""

    def __init__(self) -> None:
        self._footprints: dict[Any, pieces.Footprint] = {}  # by the inputs' shapes and dtypes
        self.compiled: CompiledRuns | None = None  # SpikingNetwork.compile() sets it

    def forget_compiled(self) -> None:
        """Compile anew, as the graph has changed."""
        if self.compiled is not None:
            self.compiled.graphs.clear()

    def __reduce__(self) -> tuple[type[Runner], tuple[()]]:
        return Runner, ()  # copies are not compiled, like those of torch's compiled modules

    def mean(self, net: GraphModule, stimulus: Stimulus, observers: Sequence[Observer] = ()) -> Any:
        """Run, and average what the graph returns over time."""
        means = []
        for outputs in self._outputs(net, stimulus, observers):
            total = output = None
            for steps, output in outputs:
                total = running_sums(total, output, steps)[-1]
            means.append(average(total, stimulus.num_steps, output))
        return concatenated(means, dim=0)

    def means_over_time(
        self, net: GraphModule, stimulus: Stimulus, observers: Sequence[Observer] = ()
    ) -> Any:
        """As :meth:`mean`, for every number of steps up to T: ``[T, B, ...]``."""
        means = []
        for outputs in self._outputs(net, stimulus, observers):
            total: Any = None
            entries: list[Any] = []
            for steps, output in outputs:
                sums = running_sums(total, output, steps)
                entries += [average(s, t, output) for t, s in enumerate(sums, len(entries) + 1)]
                total = sums[-1]
            means.append(over_time(entries))
        return concatenated(means, dim=1)

    def _outputs(
        self, net: GraphModule, stimulus: Stimulus, observers: Sequence[Observer] = ()
    ) -> Iterator[Iterable[tuple[int, Any]]]:
        """For each group of images, the number of steps and the outputs of each piece.

        Each group starts from a fresh state. Afterwards the groups' states are joined.
        """
        plan, whole = self._plan(net, stimulus, observed=bool(observers))
        layers = temporal_layers(net)
        neurons = {name: m for name, m in net.named_modules() if isinstance(m, DualThreshold)}
        finite = Finite()
        see_inputs(finite, stimulus.inputs)
        kept = bool(observers) or _keeps_state(net, layers, stimulus)
        try:
            for layer in layers:
                layer.begin()
                if isinstance(layer, (Difference, DualThreshold)):
                    layer._state.only_step = not kept
            for index, group in enumerate(stimulus.groups(plan.images)):
                if index:
                    for layer in layers:
                        # With observers, states are not stored, as that would take memory.
                        layer.begin() if observers else layer.park()
                for observer in observers:
                    observer.begin(*group.inputs)
                made = self.compiled.run(net, *group.as_called) if whole and self.compiled else None
                if made is None:
                    yield _run(net, group, plan.steps, observers)
                    sums = membrane_sums(list(neurons.values()))
                    if whole and self.compiled:
                        self.compiled.went_on_without(net, *group.as_called)
                else:
                    kept, sums = False, made[1]
                    yield [(group.num_steps, made[0])]
                if sums is not None:
                    see_membranes(finite, list(neurons), sums)
                for observer in observers:
                    observer.end()
            finite.read()
        finally:
            # A tracer's tensors are of no use after it: they must not stay as state.
            traced = not is_compiling() and not can_be_read(stimulus.inputs[0])
            for layer in layers:
                if traced or not kept:
                    _free(layer)
                layer.end()
            for neuron in neurons.values() if not kept else ():
                neuron._state.set(_NOT_KEPT, None)

    def _plan(
        self, net: GraphModule, stimulus: Stimulus, *, observed: bool
    ) -> tuple[pieces.Plan, bool]:
        """How a run is split, and whether its groups run whole in compiled code."""
        images, num_steps = stimulus.images, stimulus.num_steps
        if stimulus.piece is not None:
            return pieces.Plan(images, stimulus.piece), False
        whole = self.compiled is not None and num_steps <= MOST_STEPS and not observed
        whole = whole and pieces.may_be_compiled(net, stimulus.inputs)
        if not pieces.may_be_cut(net, stimulus.inputs):
            return pieces.Plan(images, num_steps), whole
        key = tuple((x.shape[1:], x.dtype) for x in stimulus.inputs)
        if key not in self._footprints:
            self._footprints[key] = pieces.footprint(net, stimulus.inputs, images)
        one = self._footprints[key]
        if not stimulus.held:
            one = replace(one, in_groups=False)
        device = stimulus.inputs[0].device
        if whole and one.in_groups:
            return pieces.whole_plan(one, images, num_steps, device), True
        plan = pieces.plan(one, images, num_steps, device)
        return plan, whole and plan.steps == num_steps


def _free(layer: Temporal) -> None:
    """Free a layer's state; without the checks of a run that begins."""
    if isinstance(layer, DualThreshold):
        layer._state.clear()
    else:
        layer.begin()


def _is_own(layer: Temporal) -> bool:
    """Whether it is a layer of this package that is known to do without state; no subclass."""
    known = isinstance(layer, (DualThreshold, Difference, StepBias))
    return known and type(layer).__module__.partition(".")[0] == __name__.partition(".")[0]


def _keeps_state(net: GraphModule, layers: Sequence[Temporal], stimulus: Stimulus) -> bool:
    """Whether layers keep their state: not of a single step, unless someone may look at it."""
    if stimulus.num_steps > 1 or stimulus.piece is not None:
        return True
    if torch.is_grad_enabled() or not all(map(can_be_read, stimulus.inputs)):
        return True
    if observed_globally() or any(map(has_hooks, net.modules())):
        return True
    # A layer inside another may take many steps meanwhile, and a user's may do anything.
    calls = Counter(str(node.target) for node in net.graph.nodes if node.op == "call_module")
    once = {id(net.get_submodule(name)) for name, times in calls.items() if times == 1}
    only_own = all(_is_own(layer) and id(layer) in once for layer in layers)
    return not only_own or not any(isinstance(layer, DualThreshold) for layer in layers)


def _run(
    net: GraphModule, group: Stimulus, piece: int, observers: Sequence[Observer]
) -> Iterable[tuple[int, Any]]:
    inputs, num_steps, held = group.as_called
    if piece >= num_steps and not observers:
        return [(num_steps, net(*inputs, num_steps=num_steps, held=held))]
    return pieces.run(net, inputs, num_steps, held=group.held, piece=piece, observers=observers)


_NOT_KEPT = torch.zeros(0)  # the membrane of neurons whose last run kept none


def one_step(
    net: GraphModule, neurons: Mapping[str, DualThreshold], inputs: tuple[Tensor, ...]
) -> Any:
    """Advance by one step from the present state; inputs and output are ``[B, ...]``."""
    if any(neuron.mem is _NOT_KEPT for neuron in neurons.values()):
        raise StateError(
            "the last run was compiled, or of one step: it kept no state that a step could go on "
            "from. Call reset() first, or run the steps before it by step() as well"
        )
    if neurons and all(neuron.is_fresh for neuron in neurons.values()):
        # snnTorch may have reset the neurons; it does not know the other layers.
        for layer in temporal_layers(net):
            if not isinstance(layer, DualThreshold):
                layer.reset_mem()
    elif neurons and not any(neuron.mem.requires_grad for neuron in neurons.values()):
        # snnTorch may have detached the neurons, for truncated backpropagation.
        for layer in temporal_layers(net):
            layer.detach_state()
    output = net(*inputs, num_steps=1, held=1)
    sums = membrane_sums(list(neurons.values()))
    if sums is not None:
        finite = Finite()
        see_membranes(finite, list(neurons), sums)
        finite.read()
    return output
