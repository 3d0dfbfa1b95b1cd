"""TrivialAugment on whole batches: each image gets one operation of its own, without a loop.

Which image gets which operation is drawn on the CPU. So images are grouped by operation without
asking the device, and nothing waits for it.

Source: Müller and Hutter, "TrivialAugment", ICCV 2021, arXiv 2103.10158, with RandAugment's
operations and ranges.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

GEOMETRIC = ("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate")
COLOUR = (
    "brightness",
    "colour",
    "contrast",
    "sharpness",
    "posterise",
    "solarise",
    "autocontrast",
    "equalise",
)
OPERATIONS = GEOMETRIC + COLOUR

_SHEAR = 0.3
_TRANSLATION = 10 / 32  # of the image's side
_ROTATION = math.radians(30)
_BLEND = 0.9
# Weights of ITU-R BT.601, which Pillow's greys have as well.
_GREY = (0.299, 0.587, 0.114)


def affine(operation: Tensor, strength: Tensor, size: int) -> Tensor:
    """Where each output pixel comes from: matrices ``[B, 2, 3]`` on (y, x) from the centre.

    ``operation`` ``[B]`` counts in :data:`OPERATIONS`; ``strength`` ``[B]`` lies within [−1, 1].
    Colour operations leave pixels where they are.
    """
    zero = torch.zeros_like(strength)
    given = {name: torch.where(operation == k, strength, zero) for k, name in enumerate(GEOMETRIC)}
    angle = given["rotate"] * _ROTATION
    sine, cosine = angle.sin(), angle.cos()
    shift = _TRANSLATION * size
    rows = (
        (cosine, sine + given["shear_y"] * _SHEAR, given["translate_y"] * shift),
        (given["shear_x"] * _SHEAR - sine, cosine, given["translate_x"] * shift),
    )
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def recolour(images: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    """Colour operations on images ``[B, 3, H, W]`` of values 0 … 255, in place.

    ``operation`` ``[B]`` lies on the CPU, ``strength`` ``[B]`` where the images are.
    """
    for k, name in enumerate(COLOUR, start=len(GEOMETRIC)):
        rows = (operation == k).nonzero().flatten()
        if len(rows):
            rows = sent(rows, images.device)
            images[rows] = _CHANGES[name](images[rows], strength[rows].view(-1, 1, 1, 1))
    return images


def sent(values: Tensor, device: torch.device) -> Tensor:
    """A copy of the CPU's values on the device; the host does not wait for it."""
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


def _blended(images: Tensor, other: Tensor | float, strength: Tensor) -> Tensor:
    """Away from ``other`` for positive strengths, towards it for negative ones."""
    return (other + (1 + _BLEND * strength) * (images - other)).clamp(0, 255)


def _grey(images: Tensor) -> Tensor:
    weights = images.new_tensor(_GREY).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def _brightness(images: Tensor, strength: Tensor) -> Tensor:
    return _blended(images, 0.0, strength)


def _colour(images: Tensor, strength: Tensor) -> Tensor:
    return _blended(images, _grey(images), strength)


def _contrast(images: Tensor, strength: Tensor) -> Tensor:
    return _blended(images, _grey(images).mean((2, 3), keepdim=True), strength)


def _sharpness(images: Tensor, strength: Tensor) -> Tensor:
    # A 3 × 3 mean in which the centre counts five times; borders stay.
    inner = images[:, :, 1:-1, 1:-1]
    sums = torch.nn.functional.avg_pool2d(images, 3, stride=1) * 9
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = (sums + 4 * inner) / 13
    return _blended(images, smooth, strength)


def _posterise(images: Tensor, strength: Tensor) -> Tensor:
    lost = 2 ** (4 * strength.abs()).round()  # 0 to 4 of 8 bits
    return (images / lost).floor() * lost


def _solarise(images: Tensor, strength: Tensor) -> Tensor:
    return torch.where(images >= 256 * (1 - strength.abs()), 255 - images, images)


def _autocontrast(images: Tensor, strength: Tensor) -> Tensor:
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    stretched = (images - low) * 255 / (high - low).clamp_min(1)
    return torch.where(high > low, stretched, images)


def _equalise(images: Tensor, strength: Tensor) -> Tensor:
    """As Pillow: the histogram's sums become the new values, channel by channel."""
    values = images.long().flatten(2)
    counts = values.new_zeros(*values.shape[:2], 256)
    counts.scatter_add_(2, values, torch.ones_like(values))
    last = counts.gather(2, values.amax(2, keepdim=True))
    step = (values.shape[2] - last) // 255
    before = counts.cumsum(2) - counts
    table = ((before + step // 2) // step.clamp_min(1)).clamp(max=255)
    equal = table.gather(2, values).to(images.dtype).view_as(images)
    return torch.where((step > 0).unsqueeze(3), equal, images)


_CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": _brightness,
    "colour": _colour,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "posterise": _posterise,
    "solarise": _solarise,
    "autocontrast": _autocontrast,
    "equalise": _equalise,
}
