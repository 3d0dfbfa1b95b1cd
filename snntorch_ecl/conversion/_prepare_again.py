"""Prepare a network again as it was prepared for a spiking one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn

from ..errors import EclError
from ..nn._threshold_clip import clips_of
from ._prepare import prepare


def prepared_with(
    layers: Collection[str], model: nn.Module, *, signed: bool, **options: Any
) -> nn.Module:
    """The network with a clip for each of the layers, if it has them.

    ``signed``: one of the neurons is, so that ``prepare`` was called so. It may have been in any
    case: where all operands are 0 and above, as behind a softmax, their clips are not signed.
    """
    found: list[nn.Module] = []
    errors: list[EclError] = []
    for kind in (True,) if signed else (False, True):
        try:
            ann = prepare(model, signed=kind, **options)
        except EclError as error:
            errors.append(error)
            continue
        if set(layers) <= clips_of(ann).keys():
            return ann
        found.append(ann)
    if errors:
        raise errors[0]
    return found[0]
