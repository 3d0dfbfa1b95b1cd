"""One image file, whoever made it: read in 8 bits, or refused by its name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._util.optional import require
from ..errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

# A strip this long would become millions of pixels as its shorter side grows to a network's size.
_LONGEST = 200


def read_image(path: str | Path, *, mode: str = "RGB", remedy: str = "remove it") -> Image:
    """The first picture of a file in one of Pillow's modes; :class:`DataError` if there is none."""
    pillow = require("PIL.Image", extra="train")
    try:
        if not os.path.isfile(path):
            raise ValueError("it is not a file")  # a pipe would be waited for
        with pillow.open(path) as image:
            if max(image.size) > _LONGEST * min(image.size):
                raise ValueError(f"{image.size[0]} x {image.size[1]} pixels are no picture")
            converted: Image = _in_8_bits(image, pillow).convert(mode)
            return converted
    except Exception as error:  # Pillow has no base class for what damaged headers lead to
        raise DataError(f"{path} is not a readable image ({error}); {remedy}") from error


def _in_8_bits(image: Any, pillow: Any) -> Any:
    """Grey values of 16 bits on the scale of 8, where Pillow would cut them off at 255."""
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose scale is not known")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("pixels of more than 16 bits")
    return pillow.fromarray((values // 257).astype(np.uint8))
