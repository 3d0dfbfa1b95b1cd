"""The settings of a dual-threshold neuron: for its equations, for files, for people."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from ..functional._edges import CountBounds

_USUAL = {"spike_sizes": 1, "signed": False}


def check_signed(negative_threshold: float, *usual: float) -> None:
    """Refuse a θ′ of a signed neuron, which has none to choose: it must be 0, or a usual one."""
    if negative_threshold not in (0, *usual):
        raise ConfigError(
            "a signed neuron fires −1 at v < 0: only so it equals its clip. Leave out "
            f"negative_threshold={negative_threshold:g}"
        )


def _count_bounds(neuron: Any) -> CountBounds:
    """The least and the largest net count: of signed neurons both signs are alike."""
    most = getattr(neuron, "most_spikes", None)  # of a levelled network
    least = None if most is None else -most
    return least if neuron.signed else 0, most


def equation_settings(neuron: Any) -> dict[str, Any]:
    """The keywords of :func:`~snntorch_ecl.functional.scan` for a neuron."""
    return {
        "negative_threshold": neuron.negative_threshold,
        "initial_membrane": neuron.initial_membrane,
        "spike_sizes": neuron.spike_sizes,
        "count_bounds": _count_bounds(neuron),
    }


def stored_settings(neuron: Any) -> dict[str, float]:
    """What a file must hold beside the tensors; usual settings are left out.

    So earlier releases read the files of all usual networks.
    """
    names = ["negative_threshold", "initial_membrane"]
    names += [name for name, usual in _USUAL.items() if getattr(neuron, name) != usual]
    return {name: getattr(neuron, name) for name in names}


def settings_as_text(neuron: Any) -> str:
    """The settings of a file, for ``print(net)``."""
    texts = (
        f"{name}={value}" if isinstance(value, bool) else f"{name}={value:g}"
        for name, value in neuron.settings().items()
    )
    return ", ".join(texts)
