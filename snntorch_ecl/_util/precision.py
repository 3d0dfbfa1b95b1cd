"""Which type a sum over time is kept in."""

from __future__ import annotations

import torch
from torch import Tensor

_NARROW = (torch.float16, torch.bfloat16)


def wide(values: Tensor) -> Tensor:
    """Half precision as float32, all else as it is.

    A sum in half precision stops to grow when its terms are smaller than its rounding: in
    bfloat16, 256 + 1 is 256.

    Example:
        >>> wide(torch.ones(1, dtype=torch.bfloat16)).dtype, wide(torch.ones(1).double()).dtype
        (torch.float32, torch.float64)
    """
    return values.to(wide_type(values.dtype))


def wide_type(dtype: torch.dtype) -> torch.dtype:
    """float32 for half precision, all else as it is."""
    return torch.float32 if dtype in _NARROW else dtype
