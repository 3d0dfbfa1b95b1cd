"""``snntorch.Leaky`` without its memory leak, aliased thresholds and failing copies."""

from __future__ import annotations

import copy
import inspect
import weakref
from typing import Any

import snntorch
import torch
from snntorch import surrogate
from torch import Tensor, nn

from .._util.checks import check_threshold
from .._util.torch_internals import is_compiling
from ..errors import ConfigError
from ._settings import check_signed

# Settings of ``snntorch.Leaky`` that the dual-threshold equations fix.
_FIXED: dict[str, Any] = {
    "beta": 1, "reset_mechanism": "subtract", "reset_mechanism_val": 0, "inhibition": False,
    "state_quant": False, "reset_delay": False,
}  # fmt: skip
# Tensors that adopt the shape of a loaded one: one value, or one per channel.
_SHAPED = ("threshold", "graded_spikes_factor")


class CarefulLeaky(snntorch.Leaky):
    """The base of this package's neurons, without leak.

    Thresholds are private float copies, and adopt the shape of a loaded file. Copies and pickles
    start with a fresh state: a subclass leaves its state out in ``_without_state``.
    """

    def __init__(
        self, threshold: float | Tensor, graded_spikes_factor: float | Tensor, **settings: Any
    ) -> None:
        super().__init__(
            beta=1.0,
            threshold=_own(threshold, "threshold"),
            graded_spikes_factor=_own(graded_spikes_factor, "graded_spikes_factor"),
            reset_delay=False,
            **settings,
        )
        # snnTorch stores a bound method here: a reference cycle, and not used by this package.
        del self.state_function
        _enlist_weakly(self)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, unless the equations fix another value for it."""
        if name in _FIXED:
            _check_fixed(name, value)
        if name == "negative_threshold" and self.__dict__.get("signed"):
            check_signed(value)
        super().__setattr__(name, value)

    def _without_state(self) -> dict[str, Any]:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """Everything except the running state, which may belong to an autograd graph."""
        return {**self._without_state(), "spike_grad": _surrogate_recipe(self.spike_grad)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        recipe = state["spike_grad"]
        if isinstance(recipe, tuple):
            name, settings = recipe
            state = {**state, "spike_grad": getattr(surrogate, name)(**settings)}
        super().__setstate__(state)
        _enlist_weakly(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> CarefulLeaky:
        """A fresh neuron with the same settings; the surrogate function is shared, not copied."""
        memo[id(self.spike_grad)] = self.spike_grad
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__setstate__(copy.deepcopy({**self._without_state()}, memo))
        return twin

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name in _FIXED:
            if prefix + name in state_dict:
                _check_fixed(name, state_dict[prefix + name], prefix)
        for name in _SHAPED:
            value = state_dict.get(prefix + name)
            if value is None:
                continue
            own = getattr(self, name)
            if value.shape != own.shape and value.ndim <= 1:
                own.data = own.new_empty(value.shape)
            if not isinstance(own, nn.Parameter):
                check_threshold(value, like=value, name=prefix + name, shape=False)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _check_fixed(name: str, value: Any, prefix: str = "") -> None:
    """Raise :class:`ConfigError` if a setting would be ignored: it can have one value only."""
    own = value
    if isinstance(value, Tensor):
        if value.device.type == "meta" or is_compiling():
            return
        own = value.item() if value.numel() == 1 else value
    if isinstance(own, Tensor) or own != _FIXED[name]:
        raise ConfigError(
            f"{prefix}{name} of a dual-threshold neuron is {_FIXED[name]!r} and cannot be "
            f"{own!r}: it integrates without leak and resets by subtraction. For another value "
            "use snntorch.Leaky, with a handler: convert(ann, handlers={ThresholdClip: ...})"
        )


def _own(value: float | Tensor, name: str) -> Tensor:
    """A private float copy of a threshold; snnTorch would alias tensors and keep ints as int64."""
    if isinstance(value, Tensor):
        value = value.detach().clone()
        if not value.is_floating_point():
            value = value.float()
    like = value if isinstance(value, Tensor) else torch.empty(())
    checked = check_threshold(value, like=like, name=name, shape=False)
    if checked.ndim > 1:
        raise ConfigError(f"{name} must have shape [] or [C]; got shape {list(checked.shape)}")
    return checked


def _enlist_weakly(neuron: nn.Module) -> None:
    """Replace a neuron's entry in snnTorch's list of instances by a weak reference."""
    instances = snntorch.SpikingNeuron.instances
    if instances and instances[-1] is neuron:
        instances.pop()  # the strong entry that snnTorch's constructor made

    def forget(proxy: Any) -> None:
        # This list, not snntorch.SpikingNeuron.instances: at interpreter exit that is gone.
        instances[:] = [entry for entry in instances if entry is not proxy]

    instances.append(weakref.proxy(neuron, forget))


def _surrogate_recipe(spike_grad: Any) -> Any:
    """``(factory name, settings)`` of an snnTorch surrogate, a closure that cannot be pickled.

    Anything else is returned unchanged.
    """
    factory = getattr(spike_grad, "__qualname__", "").partition(".<locals>")[0]
    if getattr(spike_grad, "__module__", None) != surrogate.__name__ or not hasattr(
        surrogate, factory
    ):
        return spike_grad
    settings = inspect.getclosurevars(spike_grad).nonlocals
    wanted = inspect.signature(getattr(surrogate, factory)).parameters
    return (factory, settings) if set(settings) <= set(wanted) else spike_grad


class ResetHandle(snntorch.Leaky):
    """A direct child that makes ``snntorch.utils.reset`` reset the neurons further down.

    snnTorch 1.0 looks for neurons only among a network's *direct* children; if it finds one, it
    zeroes ``mem`` of all live neurons. The handle never computes, has no state, is not in
    snnTorch's list, and ``SpikingNetwork.modules()`` leaves it out.
    """

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def extra_repr(self) -> str:
        return "lets snntorch.utils.reset find the neurons below"
