"""Two habits of snnTorch that would leak memory or break pickling, mended from outside."""

from __future__ import annotations

import inspect
import weakref
from typing import Any

import snntorch
from snntorch import surrogate
from torch import nn

__all__ = ["enlist_weakly", "surrogate_recipe"]


def enlist_weakly(neuron: nn.Module) -> None:
    """Enter a neuron in snnTorch's list of instances, which never lets go, by a weak reference."""
    instances = snntorch.SpikingNeuron.instances
    if instances and instances[-1] is neuron:
        instances.pop()  # the strong entry that snnTorch's constructor made

    def forget(proxy: Any) -> None:
        # This list, not the module's name for it: that is gone while the interpreter ends.
        instances[:] = [entry for entry in instances if entry is not proxy]

    instances.append(weakref.proxy(neuron, forget))


def surrogate_recipe(spike_grad: Any) -> Any:
    """``(factory name, settings)`` of an snnTorch surrogate, which as a closure cannot be pickled.

    Anything else is returned as it is.
    """
    factory = getattr(spike_grad, "__qualname__", "").partition(".<locals>")[0]
    if getattr(spike_grad, "__module__", None) != surrogate.__name__ or not hasattr(
        surrogate, factory
    ):
        return spike_grad
    settings = inspect.getclosurevars(spike_grad).nonlocals
    wanted = inspect.signature(getattr(surrogate, factory)).parameters
    return (factory, settings) if set(settings) <= set(wanted) else spike_grad
