"""What bad input is tried on, and how its error is looked at."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import snntorch_ecl as ecl
from snntorch_ecl import ThresholdClip
from snntorch_ecl.errors import EclError

NAN, INF = math.nan, math.inf


def assert_refuses(
    call: Callable[[], Any], kind: type[EclError], builtin: type[Exception], *parts: str
) -> str:
    """The call raises exactly ``kind``, whose text holds all ``parts``."""
    with pytest.raises(builtin) as caught:
        call()
    assert type(caught.value) is kind
    text = str(caught.value)
    assert [part for part in parts if part not in text] == []
    return text


def small(threshold: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), ThresholdClip(4, threshold), nn.Linear(4, 2))


def network() -> ecl.SpikingNetwork:
    return ecl.convert(small())
