"""What a chip allows, what a layer needs, and where the two do not fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .._util.checks import check_whole_numbers
from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a chip allows; None: not known, and not checked.

    Attributes:
        chip: Its name.
        sources: Where each number is from.
        cores: Number of cores.
        splits_layers: Whether a layer may be spread over several cores.
        neurons_per_core: Neurons that a core holds.
        weights_per_core: Weights that a core holds; a convolution's are shared by its neurons.
        fan_in: Synapses that a neuron can have.
        weight_bits: Size of a weight, sign included.
        membrane_bits: Size of a membrane, sign included.
        signed_spikes: Whether spikes below zero exist.
        programmable: Whether neurons can have a second threshold and a count.

    Raises:
        ConfigError: A number is below 1, or a setting has another type.

    Example:
        >>> Limits(chip="mine", cores=4, neurons_per_core=256).cores
        4
    """

    chip: str
    sources: tuple[str, ...] = ()
    cores: int | None = None
    splits_layers: bool = True
    neurons_per_core: int | None = None
    weights_per_core: int | None = None
    fan_in: int | None = None
    weight_bits: int | None = None
    membrane_bits: int | None = None
    signed_spikes: bool | None = None
    programmable: bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.chip, str):
            raise ConfigError(f"chip must be a name; got {self.chip!r}")
        for name in _NUMBERS:
            if getattr(self, name) is not None:
                check_whole_numbers(name, (getattr(self, name),), lowest=1)
        for name in ("splits_layers", "signed_spikes", "programmable"):
            value = getattr(self, name)
            if not isinstance(value, bool) and (value is not None or name == "splits_layers"):
                raise ConfigError(
                    f"{name} must be True or False, or None: not known; got {value!r}"
                )


_NUMBERS = (
    "cores", "neurons_per_core", "weights_per_core", "fan_in", "weight_bits", "membrane_bits",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one layer needs.

    Attributes:
        name: Qualified name.
        kind: Type of the layer.
        neurons: Its neurons, or units of max-pooling, for one image.
        synapses: Its synapses, for one image.
        fan_in: Synapses of the neuron, or output, that has most.
        fan_out: Synapses of the value it reads that has most.
        weights: Weights and biases that are stored.
        weight_bytes: Their memory.
        state_bytes: Memory of membranes and counts.
        spikes: Spikes a step, the mean over the data.
        negative: Of these below zero, on the wires.
        takes_back: Whether its neurons have a second threshold and a count; or its units counts.
    """

    name: str
    kind: str
    neurons: int = 0
    synapses: int = 0
    fan_in: int = 0
    fan_out: int = 0
    weights: int = 0
    weight_bytes: int = 0
    state_bytes: int = 0
    spikes: float = 0.0
    negative: float = 0.0
    takes_back: bool = False


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """A limit that a layer, or the network, does not keep.

    Attributes:
        layer: Its name; empty for the whole network.
        limit: Which limit.
        has: What is needed.
        allowed: What the chip has.
        remedy: What to do.
    """

    layer: str
    limit: str
    has: str
    allowed: str
    remedy: str


def misfits_of(
    parts: tuple[Part, ...], weight_bits: int, membrane_bits: int, limits: Limits
) -> tuple[Misfit, ...]:
    """The limits that are not kept, by layer."""
    misfits: list[Misfit] = []

    def check(layer: str, limit: str, has: float, remedy: str) -> None:
        allowed = getattr(limits, limit)
        if allowed is not None and has > allowed:
            misfits.append(
                Misfit(layer=layer, limit=limit, has=f"{int(has):,}", allowed=f"{allowed:,}",
                       remedy=remedy)
            )  # fmt: skip

    check("", "weight_bits", weight_bits, "export with fewer weight_bits")
    check("", "membrane_bits", membrane_bits, "export with fewer membrane_bits")
    cores = 0
    for part in parts:
        check(part.name, "fan_in", part.fan_in, "use smaller kernels or groups, or fewer channels")
        holds = part.neurons > 0 if limits.splits_layers else part.weights > 0
        needs = [1] * holds
        for limit, has in (("neurons_per_core", part.neurons), ("weights_per_core", part.weights)):
            allowed = getattr(limits, limit)
            if not limits.splits_layers:
                check(part.name, limit, has, "use fewer channels, or smaller maps")
            elif allowed is not None and part.neurons:
                needs.append(math.ceil(has / allowed))
        cores += max(needs, default=0)
        if limits.signed_spikes is False and part.negative:
            misfits.append(
                Misfit(layer=part.name, limit="signed_spikes", has="spikes of −1", allowed="none",
                       remedy="use the target two-channels or settle")
            )  # fmt: skip
        if limits.programmable is False and part.takes_back:
            what = "a count of each input" if part.fan_in else "second threshold, count"
            misfits.append(
                Misfit(layer=part.name, limit="programmable", has=what, allowed="none",
                       remedy="use the target settle")
            )  # fmt: skip
    check("", "cores", cores, "use fewer channels or layers, or several chips")
    return tuple(misfits)
