"""``DualThreshold``: the dual-threshold neuron with snnTorch's interface."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from .. import functional as F
from .._util.checks import at, check_neuron, check_num_steps, check_threshold
from .._util.torch_internals import is_compiling
from ..functional import _fused
from ..functional._channels import as_text, over_channels
from ._only_step import only_spikes, stateless
from ._settings import check_signed, equation_settings, settings_as_text, stored_settings
from ._snntorch import CarefulLeaky
from ._state import Counts, NeuronState, one_step, state_for
from ._temporal import Temporal, unfold


class DualThreshold(Temporal, CarefulLeaky):
    """Integrate-and-fire neuron that can take a spike back; drop-in for ``snntorch.Leaky``.

    It integrates without leak from ``v(0) = θ/2``, fires +1 at ``v ≥ θ`` with soft reset, and
    fires −1 at ``v ≤ θ′`` while its net spike count is positive. A ``signed`` neuron stands for
    values of either sign: it fires −1 at ``v < 0``, whatever its count. The equations are in
    :func:`snntorch_ecl.functional.dual_threshold_step`. With ``spike_sizes=K`` a spike has the
    size that fits best of θ, θ/2, … θ/2^(K−1), of either sign: 2K + 1 levels a step instead of 3,
    for hardware with graded spikes. A size is a shift of the weight.

    ``mem`` is relative to the start: zero means fresh. So whatever zeroes ``mem`` in snnTorch
    (``utils.reset``, ``reset_mem()``, assignment) makes the neuron fresh, count included.

    If you pass ``mem`` yourself, pass what the neuron returned (as it is, detached, or a copy of
    the last one), or zeros to start again. The neuron remembers the net spike count that belongs
    to each ``mem``, as the same potential may come from different counts, and refuses a ``mem``
    it has not returned. Assign ``neuron.mem = mem`` to start at any potential with count 0.

    Args:
        threshold: θ > 0, shape ``[]``, or ``[C]`` over dimension 1 of the input.
        negative_threshold: θ′ ≤ 0, absolute. ``-inf`` is the plain IF neuron; 0 means ``v < 0``.
        initial_membrane: v(0) in units of θ (of the smallest spike), within [0, 1].
        spike_grad: A function of :mod:`snntorch.surrogate`; None is its default, ``atan()``.
            It sees the distance to either threshold in units of θ.
        surrogate_disable: Spikes carry no gradient.
        init_hidden: Keep ``mem`` inside; ``forward`` takes only the input.
        learn_threshold: Make θ a parameter (kept positive as in ``ThresholdClip``).
        output: With ``init_hidden``, return ``mem`` as well.
        graded_spikes_factor: Spikes are scaled by it, shape ``[]`` or ``[C]``; conversion sets
            it to θ.
        learn_graded_spikes_factor: Make the factor a parameter.
        spike_sizes: K, from 1 to 8; 1 is the neuron of the paper.
        signed: The neuron of a signed :class:`ThresholdClip`: any net count, and θ′ = 0.

    Shape:
        Input, spikes and mem ``[B, ...]``; with ``num_steps=T`` the first two ``[T·B, ...]``.

    Raises:
        ConfigError: θ, θ′, v(0), K or the spike factor is outside its range.
        StateError: The batch size or shape changed in the middle of a sequence.
        TypeError: ``mem`` is passed together with ``init_hidden=True`` (as in snnTorch).

    Source: ECL eq. 4-5 (arXiv 2506.01968).

    Example:
        >>> neuron = DualThreshold(threshold=1.0)
        >>> mem = neuron.reset_mem()
        >>> spk, mem = neuron(torch.tensor([0.8]), mem)
        >>> spk, mem = neuron(torch.tensor([-0.8]), mem)
        >>> spk
        tensor([-1.])
    """

    def __init__(
        self,
        threshold: float | Tensor = 1.0,
        *,
        negative_threshold: float = -1e-3,
        initial_membrane: float = 0.5,
        spike_grad: F.SurrogateGradient | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        learn_threshold: bool = False,
        output: bool = False,
        graded_spikes_factor: float | Tensor = 1.0,
        learn_graded_spikes_factor: bool = False,
        spike_sizes: int = 1,
        signed: bool = False,
    ) -> None:
        check_neuron(negative_threshold, initial_membrane, spike_sizes)
        if signed:
            check_signed(negative_threshold, -1e-3)
        super().__init__(
            threshold,
            graded_spikes_factor,
            spike_grad=spike_grad,
            surrogate_disable=surrogate_disable,
            init_hidden=init_hidden,
            learn_threshold=learn_threshold,
            output=output,
            learn_graded_spikes_factor=learn_graded_spikes_factor,
        )
        self.negative_threshold = 0.0 if signed else float(negative_threshold)
        self.initial_membrane = float(initial_membrane)
        self.spike_sizes, self.signed = spike_sizes, signed
        self.fused = False  # SpikingNetwork.compile() sets it
        self.qualified_name = ""  # for errors; convert() sets it

    def forward(
        self,
        input_: Tensor,
        mem: Tensor | None = None,
        *,
        num_steps: int | None = None,
        held: int = 1,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Advance by one step, or by a whole sequence.

        Args:
            input_: Current ``[B, ...]``, or ``[T·B, ...]`` with ``num_steps``.
            mem: Membrane from the previous step, unless ``init_hidden``.
            num_steps: T: run T steps at once; the spikes are the same.
            held: See :func:`snntorch_ecl.nn.unfold`.

        Returns:
            ``spk`` with ``init_hidden=True, output=False``, else ``(spk, mem)``.
        """
        if mem is not None:
            if self.init_hidden:
                raise TypeError("`mem` should not be passed as an argument: `init_hidden=True`")
            own, count = self._state.get()
            self._state.set(mem, self._returned.count_for(mem, own, count, self.qualified_name))
        else:
            self._forget_if_zeroed()
        if num_steps is None:
            spk, state, mem_sum = self._advance(one_step, input_, input_)
        else:
            check_num_steps(num_steps)
            steps = unfold(input_, num_steps, held)
            spk, state, mem_sum = self._advance(F.scan, steps, steps[0])
            spk = spk.flatten(0, 1)
        self._state.advance(state, mem_sum)
        if state is None:
            return spk
        if not (self.init_hidden or is_compiling()):
            self._returned.remember(state.mem, state.spike_count)
        return spk if self.init_hidden and not self.output else (spk, state.mem)

    def _advance(self, run: Any, current: Tensor, first: Tensor) -> _fused.Scanned:
        threshold = over_channels(self._theta(), first, self.qualified_name)
        factor = over_channels(self.graded_spikes_factor, first, self.qualified_name)
        factor = factor.to(current.device, current.dtype)
        mem, count = self._state.get()
        state = state_for(first, mem, count, self.qualified_name)
        settings = equation_settings(self)
        fused = self.fused and run is F.scan and _fused.usable(current)
        checked = self._state.checked and threshold.dtype == current.dtype
        only = self._state.only_step and run is F.scan and state is None and checked
        if only and stateless(self, current, threshold, fused=fused):
            return only_spikes(current, threshold, factor, settings)
        if fused:
            scan = _fused.unchecked_scan if checked else _fused.scan
            return scan(current, threshold, state, amplitude=factor, **settings)
        settings |= {"spike_grad": None if self.surrogate_disable else self.spike_grad}
        spk, state = run(current, threshold=threshold, state=state, **settings)
        # In place where no gradients are recorded: spikes are large.
        spk = spk * factor if torch.is_grad_enabled() else spk.mul_(factor)
        return _fused.Scanned(spk, state, None)

    def _theta(self) -> Tensor:
        """θ, kept positive where it is learned."""
        theta: Tensor = self.threshold
        return F.positive(theta) if isinstance(theta, nn.Parameter) else theta

    _state: NeuronState

    @property
    def mem(self) -> Tensor:
        """Membrane relative to its start, ``v − v(0)``; assigning starts a new sequence."""
        mem: Tensor = self._state.get()[0]
        # A detach_() from another thread must not cut the graph that a run records.
        return mem if is_compiling() or self._is_ours() else mem.detach()

    @mem.setter
    def mem(self, value: Tensor) -> None:
        # snntorch.utils.reset zeroes all neurons of the process. Another thread's run began fresh.
        state = self._state  # of now: a run that begins in between has its own
        if self._is_ours():
            state.set(value, None)

    def _is_ours(self) -> bool:
        """Whether no other thread runs the neuron."""
        return self._state.thread in (None, get_ident())

    @property
    def mem_sum(self) -> Tensor:
        """Sum of the last group's membranes, which is finite only if all of them are."""
        known = self._state.mem_sum
        return self.mem.detach().sum() if known is None else known

    @property
    def membrane(self) -> Tensor:
        """Absolute membrane potential v, in the unit of θ."""
        if not self.mem.numel():
            return self.mem  # no step was taken yet
        threshold = F.positive(self.threshold.detach())
        start = self.initial_membrane * 0.5 ** (self.spike_sizes - 1)
        return self.mem + start * over_channels(threshold, self.mem)

    @property
    def spike_count(self) -> Tensor:
        """Net count of spikes in the current sequence, int32, shaped like ``mem``.

        With several sizes it counts units of the smallest: the net sum. It is never below zero,
        unless the neuron is signed.
        """
        mem, count = self._state.get()
        return torch.zeros_like(mem, dtype=torch.int32) if count is None else count

    @property
    def is_fresh(self) -> bool:
        """Whether no step has been taken since the neuron was reset, or its ``mem`` assigned."""
        return self._state.is_fresh

    def __getattr__(self, name: str) -> Any:
        """State for snnTorch's probe, which calls this directly and so misses properties."""
        if name in ("mem", "membrane", "spike_count"):
            return object.__getattribute__(self, name)
        return super().__getattr__(name)

    def begin(self) -> None:
        """Make the neuron fresh and free its state; check the settings once for the run."""
        if is_compiling():
            self._state.clear()
            return
        self._state = NeuronState(get_ident())
        threshold, name = self._theta(), f"{at(self.qualified_name)}threshold"
        check_threshold(threshold, like=threshold, name=name, shape=False)
        check_neuron(self.negative_threshold, self.initial_membrane, self.spike_sizes)
        self._state.checked = True

    def reset_mem(self) -> Tensor:
        """Make the neuron fresh: v = v(0), count 0. Returns the new ``mem``."""
        self.mem = torch.zeros_like(self.mem)
        return self.mem

    def park(self) -> None:
        """Store the state of this group of images; begin the next group fresh."""
        self._state.park()

    def end(self) -> None:
        """Join the stored states of all groups."""
        state = self._state
        state.unpark()
        state.checked, state.thread = False, None

    def select(self, rows: Tensor) -> None:
        """Go on with some images of the running batch; ``rows`` ``[B]`` is a mask."""
        if self.mem.ndim:
            self._change_state(lambda part: part[rows])

    def _init_mem(self) -> None:
        self._state, self._returned = NeuronState(), Counts()

    def _forget_if_zeroed(self) -> None:
        """Make the neuron fresh if its membrane was set to zero in place."""
        if not is_compiling() and self._state.is_zeroed(self.qualified_name):
            self.mem = self.mem

    def _change_state(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change membrane and count alike."""
        self._forget_if_zeroed()
        mem, count = self._state.get()
        self._state.set(change(mem), None if count is None else change(count))

    settings = stored_settings

    def _apply(self, fn: Any, recurse: bool = True) -> DualThreshold:
        if self.mem.numel():  # else there is nothing to move
            self._change_state(fn)
        super()._apply(fn, recurse)
        return self

    def _without_state(self) -> dict[str, Any]:
        fresh = {"_state": NeuronState(), "_returned": Counts(), "fused": False}
        return {**self.__dict__, **fresh}

    def extra_repr(self) -> str:
        """The neuron's settings, for ``print(net)``."""
        return f"threshold={as_text(self.threshold.detach())}, {settings_as_text(self)}"
