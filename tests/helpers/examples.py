"""Networks whose code asks for shapes, and inputs to trace them with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snntorch_ecl as ecl
from tests.helpers.parts import wired

LEVELS = 4


IMAGES = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(1))


@dataclass
class Fields:
    logits: Tensor
    hidden: Tensor | None = None


def around(operation: Callable[..., Any], **parts: Any) -> nn.Module:
    """Images ``[B, 4, 6, 6]`` through a neuron and the operation."""

    def forward(m: Any, x: Tensor) -> Any:
        y = m.clip(m.conv(x))
        return operation(m, y) if parts else operation(y)

    clip = ecl.ThresholdClip(LEVELS, 0.75)
    return wired(forward, conv=nn.Conv2d(4, 4, 1), clip=clip, **parts).eval()


def unpacked(x: Tensor) -> Tensor:
    h, w = x.shape[2:]
    return F.interpolate(x[:, :, : h // 2], size=(h, w))


def moved(x: Tensor) -> Tensor:
    """As fused attention does: the batch is dimension 1 for a while."""
    q, k = x.flatten(2).reshape(x.shape[0], 2, 2, 36).permute(1, 0, 2, 3).unbind(0)
    return q - 2 * k


# ------------------------------------------------------------------------- inputs and outputs


def keywords() -> nn.Module:
    def forward(
        m: Any, pixels: Tensor | None = None, mask: Tensor | None = None, k: int = 2
    ) -> Any:
        if pixels is None:
            raise ValueError("no pixels")
        y = m.relu(m.fc(pixels))
        return Fields(logits=y * k if mask is None else y * mask)

    return wired(forward, fc=nn.Linear(3, 2), relu=nn.ReLU()).eval()
