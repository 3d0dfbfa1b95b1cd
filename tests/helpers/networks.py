"""Converted networks of the catalogue, for tests that change them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

import snntorch_ecl as ecl
from snntorch_ecl import SpikingNetwork

from .nets import BY_NAME

TYPICAL = ["residual", "max-pool overlapping", "u-net", "two inputs", "dict output"]


def convert(name: str, **settings: Any) -> SpikingNetwork:
    """A network of its own."""
    return ecl.convert(BY_NAME[name].prepared(), **settings)


def steps(snn: SpikingNetwork, *inputs: Tensor, count: int = 3) -> list[Any]:
    """The outputs of some steps."""
    return [snn.step(*inputs) for _ in range(count)]
