"""A network around an operation, and why it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import UnsupportedError
from tests.helpers.parts import wired

Operation = Callable[[Tensor], Any]


def around(operation: Operation) -> nn.Module:
    """Rows [B, 4] through a neuron and the operation."""
    torch.manual_seed(0)
    return wired(lambda m, x: operation(m.clip(m.fc(x))), fc=nn.Linear(4, 4),
                 clip=ecl.ThresholdClip(4, 0.75)).eval()  # fmt: skip


def reasons(model: nn.Module) -> tuple[str, ...]:
    with pytest.raises(UnsupportedError) as caught:
        ecl.convert(model)
    assert all(site in str(caught.value) for site in caught.value.sites)
    return caught.value.sites


NOT_AFFINE = "not known to be affine"
