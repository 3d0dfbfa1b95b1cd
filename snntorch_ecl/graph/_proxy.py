"""The values that a network's code sees while it is traced."""

from __future__ import annotations

import operator
import sys
from typing import Any

import torch
from torch import Tensor
from torch.fx import Proxy
from torch.fx.proxy import Attribute

from ._shapes import UNKNOWN

_ASK = {"isinstance", "__class__"}  # names in code that asks for a type


class Recorded(Proxy):
    """Records what is done with a value; knows its shape where an example was given.

    ``x += y`` is recorded as in-place addition: fx would record ``x + y``, which writes nothing.
    """

    tracer: Any

    @property
    def known(self) -> Any:
        """The value, without numbers; ``UNKNOWN`` without an example."""
        return UNKNOWN if self.tracer.shapes is None else self.tracer.shapes.value(self.node)

    def __getattribute__(self, name: str) -> Any:
        # Code that asks isinstance(x, torch.Tensor) is to be told yes. Torch's code in C asks too,
        # and would then read a tensor's memory where there is none.
        if name == "__class__":
            asked = _ASK & set(sys._getframe(1).f_code.co_names)
            if asked and isinstance(object.__getattribute__(self, "known"), Tensor):
                return Tensor
        return object.__getattribute__(self, name)

    def __getattr__(self, k: str) -> Any:
        value = self.known
        if value is UNKNOWN:
            return Attribute(self, k)
        found = getattr(value, k)  # raises as a tensor does
        if callable(found):
            return Attribute(self, k)
        return self.tracer.create_proxy("call_function", getattr, (self, k), {})

    def __len__(self) -> int:
        value = self.known
        if isinstance(value, (tuple, list, dict)):
            return len(value)
        if isinstance(value, Tensor) and value.ndim:
            return int(self.shape[0])
        return super().__len__()

    def __int__(self) -> int:
        return int(self.tracer.number(self))

    def __index__(self) -> int:
        return operator.index(self.tracer.number(self))

    def __float__(self) -> float:
        return float(self.tracer.number(self))

    def __iadd__(self, other: Any) -> Any:
        return self._in_place(operator.iadd, other)

    def __isub__(self, other: Any) -> Any:
        return self._in_place(operator.isub, other)

    def __imul__(self, other: Any) -> Any:
        return self._in_place(operator.imul, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._in_place(operator.itruediv, other)

    def __ifloordiv__(self, other: Any) -> Any:
        return self._in_place(operator.ifloordiv, other)

    def __ipow__(self, other: Any) -> Any:
        return self._in_place(operator.ipow, other)

    def __imod__(self, other: Any) -> Any:
        return self._in_place(operator.imod, other)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})

    def _in_place(self, operation: Any, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operation, (self, other), {})


class Sizes(tuple[Any, ...]):
    """A shape: numbers, and the batch's size, which is recorded."""

    __slots__ = ()

    def numel(self) -> Any:
        """The product of all sizes."""
        product: Any = 1
        for size in self:
            product = size * product
        return product

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return Sizes(found) if isinstance(index, slice) else found


def is_shape(value: Any) -> bool:
    """Whether a value is the shape of a tensor."""
    return isinstance(value, torch.Size)
