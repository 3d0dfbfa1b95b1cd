"""Errors of clips whose λ is not of the shape that they are to have."""

from __future__ import annotations

from torch import Tensor

from .._util.checks import at
from ..errors import ConfigError, StateError


def contradicts(name: str, value: bool, raw: Tensor) -> ConfigError:
    """``per_channel`` is assigned while λ is set, in the other shape."""
    return ConfigError(
        f"{at(name)}per_channel={value}, but λ is set, with shape {list(raw.shape)}: assign it in "
        "the other shape, or unset() it"
    )


def single_over_unset(name: str) -> StateError:
    """One value was copied from outside where one a channel was to come."""
    return StateError(
        f"{at(name)}a single λ was copied over an unset clip of one λ a channel, as by "
        "`vector_to_parameters`: what followed in the vector has gone to the wrong places. Set the "
        "thresholds first, or use load_state_dict"
    )
