"""``DualThreshold``: the dual-threshold neuron behind snnTorch's contract."""

from __future__ import annotations

import copy
from typing import Any

import snntorch
import torch
from snntorch import surrogate
from torch import Tensor, nn

from . import functional as F
from . import fused
from .activation import over_channels
from .adapters import enlist_weakly, surrogate_recipe
from .checks import at, check_neuron, check_num_steps, check_threshold
from .errors import ConfigError
from .temporal import BatchState, Temporal, changed_shape, unfold

__all__ = ["DualThreshold"]


class DualThreshold(Temporal, snntorch.Leaky):
    """Integrate-and-fire neuron that can take a spike back; drops in for ``snntorch.Leaky``.

    It integrates without leak from ``v(0) = θ/2``, fires +1 at ``v ≥ θ`` with soft reset, and
    fires −1 when ``v ≤ θ′`` while its net spike count is positive. The equations are
    :func:`snntorch_ecl.functional.dual_threshold_step`.

    ``mem`` is relative to the start: zero means fresh, so anything in snnTorch that zeroes
    ``mem`` (``utils.reset``, ``reset_mem()``, assignment) makes the neuron fresh, count included.
    When you pass ``mem`` yourself, hand on what the neuron returned (detached or not): the net
    spike count travels with it. Any other tensor starts a new sequence at count 0.

    Args:
        threshold: θ > 0, shape ``[]``, or ``[C]`` over dimension 1 of the input.
        negative_threshold: θ′ ≤ 0, absolute, in the unit of θ. ``-inf`` is the plain IF neuron.
        initial_membrane: v(0) in units of θ, within [0, 1].
        spike_grad: A function of :mod:`snntorch.surrogate`; None is its default, ``atan()``.
            It sees the distance to either threshold in units of θ.
        surrogate_disable: Spikes carry no gradient.
        init_hidden: Keep ``mem`` inside; ``forward`` takes the input alone.
        learn_threshold: Make θ a parameter (kept positive as in ``ThresholdClip``).
        output: With ``init_hidden``, return ``mem`` as well.
        graded_spikes_factor: Spikes are scaled by it, shape ``[]`` or ``[C]``; conversion sets
            it to θ.
        learn_graded_spikes_factor: Make the factor a parameter.

    Shape:
        Input, spikes and mem ``[B, ...]``. With ``num_steps=T``, input and spikes are
        ``[T·B, ...]``, time-major.

    Raises:
        ConfigError: θ, θ′, v(0) or the spike factor is outside its range.
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
    ) -> None:
        check_neuron(negative_threshold, initial_membrane)
        super().__init__(
            beta=1.0,
            threshold=_own(threshold, "threshold"),
            spike_grad=spike_grad,
            surrogate_disable=surrogate_disable,
            init_hidden=init_hidden,
            learn_threshold=learn_threshold,
            output=output,
            graded_spikes_factor=_own(graded_spikes_factor, "graded_spikes_factor"),
            learn_graded_spikes_factor=learn_graded_spikes_factor,
            reset_delay=False,
        )
        self.negative_threshold = float(negative_threshold)
        self.initial_membrane = float(initial_membrane)
        self._checked = False  # within a run, whose beginning has seen to it
        self.fused = False  # SpikingNetwork.fuse() sets it
        self.qualified_name = ""  # convert() tells it, for errors
        # snnTorch's bound method would tie the neuron into a reference cycle; it is not used here.
        del self.state_function
        enlist_weakly(self)

    # ------------------------------------------------------------------------------ stepping

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
            num_steps: T: run T steps at once, with equal spikes.
            held: See :func:`snntorch_ecl.temporal.unfold`.

        Returns:
            ``spk`` with ``init_hidden=True, output=False``, else ``(spk, mem)``.
        """
        if mem is not None:
            if self.init_hidden:
                raise TypeError(
                    "`mem` should not be passed as an argument while `init_hidden=True`"
                )
            self._adopt(mem)
        if num_steps is None:
            spk, state, mem_sum = self._advance(_one_step, input_, input_)
        else:
            check_num_steps(num_steps)
            steps = unfold(input_, num_steps, held)
            spk, state, mem_sum = self._advance(F.scan, steps, steps[0])
            spk = spk.flatten(0, 1)
        self._set_state(state.mem, state.spike_count, mem_sum)
        if self.init_hidden and not self.output:
            return spk
        if not torch.compiler.is_compiling():
            # On the storage, which survives `detach()`: it is the membrane, whoever holds it.
            state.mem.untyped_storage().spike_count = state.spike_count  # type: ignore[attr-defined]
        return spk, state.mem

    def _advance(self, run: Any, current: Tensor, one_step: Tensor) -> fused.Scanned:
        threshold: Tensor = self.threshold
        if isinstance(threshold, nn.Parameter):
            threshold = F.positive(threshold)
        threshold = over_channels(threshold, one_step, self.qualified_name)
        factor = over_channels(self.graded_spikes_factor, one_step, self.qualified_name)
        factor = factor.to(current.device, current.dtype)
        settings: dict[str, Any] = {
            "state": self._state_for(one_step),
            "negative_threshold": self.negative_threshold,
            "initial_membrane": self.initial_membrane,
        }
        if self.fused and run is F.scan and fused.usable(current):
            checked = self._checked and threshold.dtype == current.dtype
            scan: Any = fused.unchecked_scan if checked else fused.scan
            done: fused.Scanned = scan(current, threshold, amplitude=factor, **settings)
            return done
        spike_grad = None if self.surrogate_disable else self.spike_grad
        spk, state = run(current, threshold=threshold, spike_grad=spike_grad, **settings)
        # In place where no gradient forbids it: spikes are large, and nobody else holds them yet.
        spk = spk * factor if torch.is_grad_enabled() else spk.mul_(factor)
        return fused.Scanned(spk, state, None)

    # --------------------------------------------------------------------------------- state

    # The membrane, and the net spike count: None while no step has been taken since it was set.
    _state: BatchState
    _mem_sum: Tensor | None

    @property
    def _mem(self) -> Tensor:
        mem: Tensor = self._state.get()[0]
        return mem

    @property
    def _count(self) -> Tensor | None:
        count: Tensor | None = self._state.get()[1]
        return count

    @property
    def mem(self) -> Tensor:
        """Membrane relative to its start, ``v − v(0)``; assigning starts a new sequence."""
        return self._mem

    @mem.setter
    def mem(self, value: Tensor) -> None:
        self._set_state(value, None)

    def _set_state(self, mem: Tensor, count: Tensor | None, mem_sum: Tensor | None = None) -> None:
        self._state.set(mem, count)
        self._mem_sum = mem_sum  # of this very membrane: the compiled time loop knows it

    @property
    def mem_sum(self) -> Tensor:
        """Sum of the membranes of the images that ran last: finite only if all of them are."""
        return self._mem.detach().sum() if self._mem_sum is None else self._mem_sum

    @property
    def membrane(self) -> Tensor:
        """Absolute membrane potential v, in the unit of θ."""
        threshold = F.positive(self.threshold.detach())
        return self._mem + self.initial_membrane * over_channels(threshold, self._mem)

    @property
    def spike_count(self) -> Tensor:
        """Net count of spikes in the current sequence, int32, shaped like ``mem``."""
        if self._count is None:
            return torch.zeros_like(self._mem, dtype=torch.int32)
        return self._count

    def __getattr__(self, name: str) -> Any:
        """State for snnTorch's probe, which asks here and so never sees a property."""
        if name in ("mem", "membrane", "spike_count"):
            return object.__getattribute__(self, name)
        return super().__getattr__(name)

    def begin(self) -> None:
        """Make the neuron fresh and free its state; check once what the run relies on."""
        self._state.clear()
        self._mem_sum = None
        self._checked = False
        if self.fused and not torch.compiler.is_compiling():
            threshold: Tensor = self.threshold
            if isinstance(threshold, nn.Parameter):
                threshold = F.positive(threshold)
            name = f"{at(self.qualified_name)}threshold"
            check_threshold(threshold, like=threshold, name=name, shape=False)
            check_neuron(self.negative_threshold, self.initial_membrane)
            self._checked = True

    def reset_mem(self) -> Tensor:
        """Make the neuron fresh: v = v(0), count 0. Returns the new ``mem``."""
        self.mem = torch.zeros_like(self._mem)
        return self._mem

    def park(self) -> None:
        """Set the state aside, for the batch's next images."""
        self._state.park()

    def end(self) -> None:
        """Take the state of all groups back."""
        self._state.unpark()
        self._checked = False

    def select(self, rows: Tensor) -> None:
        """Go on with some images of the running batch.

        Args:
            rows: Which, ``[B]``, bool.
        """
        mem, count = self._state.get()
        if mem.ndim:
            self._set_state(mem[rows], None if count is None else count[rows])

    def _init_mem(self) -> None:
        self._state = BatchState(torch.zeros(0), None)
        self._mem_sum = None

    def _adopt(self, mem: Tensor) -> None:
        """Take over a membrane passed by the caller, with the count that belongs to it."""
        if mem is self._mem:
            return
        count = None
        if not torch.compiler.is_compiling():
            count = getattr(mem.untyped_storage(), "spike_count", None)
            if count is not None and count.shape != mem.shape:
                count = None  # a part of a membrane
        self._set_state(mem, count)

    def _state_for(self, current: Tensor) -> F.State | None:
        mem, count = self._state.get()
        if mem.shape == current.shape:
            mem = mem.to(device=current.device, dtype=current.dtype)
            return F.State(mem, self.spike_count.to(current.device))
        # A compiled graph cannot branch on values: there, a reset neuron takes any shape.
        unused = not mem.numel() or torch.compiler.is_compiling() or not bool(mem.any())
        if count is not None or not unused:
            raise changed_shape(self.qualified_name, mem, current)
        return None

    # ------------------------------------------------------------------- copies, files, moves

    def _apply(self, fn: Any, recurse: bool = True) -> DualThreshold:
        super()._apply(fn, recurse)
        mem, count = self._state.get()
        self._set_state(fn(mem), None if count is None else fn(count))
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the state of the running sequence, which may hang on a graph."""
        state = self.__dict__.copy()
        state["_state"], state["_mem_sum"] = BatchState(torch.zeros(0), None), None
        state["spike_grad"] = surrogate_recipe(self.spike_grad)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        recipe = state["spike_grad"]
        if isinstance(recipe, tuple):
            name, settings = recipe
            state = {**state, "spike_grad": getattr(surrogate, name)(**settings)}
        super().__setstate__(state)
        enlist_weakly(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> DualThreshold:
        """A fresh neuron with the same settings; its surrogate function is shared, not copied."""
        memo[id(self.spike_grad)] = self.spike_grad
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        state = self.__getstate__()
        state["spike_grad"] = self.spike_grad
        twin.__setstate__(copy.deepcopy(state, memo))
        return twin

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name in ("threshold", "graded_spikes_factor"):
            value = state_dict.get(prefix + name)
            if value is None:
                continue
            own = getattr(self, name)
            if value.shape != own.shape and value.ndim <= 1:
                own.data = own.new_empty(value.shape)
            if not isinstance(own, nn.Parameter):
                check_threshold(value, like=value, name=prefix + name, shape=False)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """The neuron's settings, for ``print(net)``."""
        theta = self.threshold.detach()
        shown = (
            f"{theta.item():.4g}" if theta.ndim == 0 else f"[{theta.min():.4g} … {theta.max():.4g}]"
        )
        return (
            f"threshold={shown}, negative_threshold={self.negative_threshold:g}, "
            f"initial_membrane={self.initial_membrane:g}"
        )


def _one_step(
    current: Tensor, *, state: F.State | None, threshold: Tensor, **settings: Any
) -> tuple[Tensor, F.State]:
    state = F.fresh_state(current) if state is None else state
    return F.dual_threshold_step(current, state, threshold, **settings)


def _own(value: float | Tensor, name: str) -> Tensor:
    """A private float copy of a threshold: snnTorch would alias a tensor and keep ints as int64."""
    if isinstance(value, Tensor):
        value = value.detach().clone()
        if not value.is_floating_point():
            value = value.float()
    like = value if isinstance(value, Tensor) else torch.empty(())
    checked = check_threshold(value, like=like, name=name, shape=False)
    if checked.ndim > 1:
        raise ConfigError(f"{name} must have shape [] or [C]; got shape {list(checked.shape)}")
    return checked
