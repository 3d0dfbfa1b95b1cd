"""Where models run."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def default_device() -> torch.device:
    """This process' accelerator, or the CPU if there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's parameters; the CPU if it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def host_sum(values: Tensor) -> float:
    """The sum of a tensor ``[B, ...]``: each row in single precision, the rows in double.

    Rows are added on the CPU, as some accelerators have no double precision.
    """
    rows = values.reshape(len(values), -1).float().sum(1)
    return float(rows.cpu().double().sum())
