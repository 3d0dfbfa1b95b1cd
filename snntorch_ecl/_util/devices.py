"""Where models run."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def default_device() -> torch.device:
    """This process' accelerator, or the CPU where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_of(model: nn.Module) -> torch.device:
    """Where a model's parameters are; the CPU if it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def host_sum(values: Tensor) -> float:
    """The sum of a tensor ``[B, ...]``, in double precision over its rows.

    Double precision is the host's: some accelerators have none.
    """
    rows = values.reshape(len(values), -1).float().sum(1)
    return float(rows.cpu().double().sum())
