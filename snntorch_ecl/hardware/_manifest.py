"""``manifest``: what a network needs on a chip, by layer, and whether a chip's limits hold."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import Tensor, nn

from .._util.batches import images_in
from .._util.devices import device_of
from .._util.figures import ABOVE, LINES, new_figure
from .._util.results import Result
from .._util.tables import table
from ..errors import ConfigError, DataError
from ..measurement._synapses import counted_layers, fan_out
from ..network import Observer, Seen, SpikingNetwork
from ..network._check_spiking import check_spiking
from ..network._guards import measuring
from ..nn import DualThreshold, SignedMaxPool
from ._integers import IntegerNetwork
from ._limits import Limits, Misfit, Part, misfits_of
from ._lines import EventLines, LineSum
from ._pools import MAXIMA, windows
from ._pulses import Pulses
from ._weights import by_output
from ._whole_layers import ChannelWeights

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Manifest(Result):
    """The result of :func:`manifest`. ``print`` it, take ``to_dict()``, or draw it.

    Attributes:
        parts: In the order in which layers run.
        num_steps: Steps of a run.
        weight_bits: Size of a weight.
        membrane_bits: Size of a membrane.
        misfits: Limits that are not kept; empty if none were given.
        limits: The chip's; None if none were given.
    """

    parts: tuple[Part, ...]
    num_steps: int
    weight_bits: int
    membrane_bits: int
    misfits: tuple[Misfit, ...] = field(default=())
    limits: Limits | None = None

    def total(self, quantity: str) -> float:
        """Sum of a quantity over all layers.

        Args:
            quantity: A numeric field of :class:`Part`, such as ``"neurons"``.

        Returns:
            The sum.
        """
        return float(sum(getattr(part, quantity) for part in self.parts))

    def table(self) -> Table:
        """What each layer needs, and the whole network."""
        columns = ("neurons", "synapses", "fan_in", "fan_out", "weight_bytes", "state_bytes")
        rows = [
            (p.name, *(_cell(getattr(p, c)) for c in columns), f"{p.spikes:.4g}" * (p.neurons > 0))
            for p in self.parts
        ]
        sums = [_cell(self.total(c)) if "fan" not in c else "" for c in columns]
        rows.append(("all", *sums, f"{self.total('spikes'):.4g}"))
        return table(
            f"{self.weight_bits}-bit weights, {self.membrane_bits}-bit membranes, "
            f"{self.num_steps} steps",
            ("layer", "neurons", "synapses", "fan-in", "fan-out", "weights, bytes", "state, bytes",
             "spikes a step"),
            rows,
        )  # fmt: skip

    def tables(self) -> tuple[Table, ...]:
        """The needs, and with limits what does not fit."""
        if self.limits is None:
            return (self.table(),)
        rows = [(m.layer or "all", m.limit, m.has, m.allowed, m.remedy) for m in self.misfits]
        title = f"{self.limits.chip}: {len(rows)} limit(s) not kept" if rows else (
            f"{self.limits.chip}: all known limits are kept"
        )  # fmt: skip
        columns = ("layer", "limit", "needed", "allowed", "what to do")
        return self.table(), table(title, columns, rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        names = ("neurons", "synapses", "weight_bytes", "state_bytes", "spikes")
        return {**asdict(self), "totals": {name: self.total(name) for name in names}}

    def plot(self) -> Figure:
        """Memory of each layer (needs matplotlib)."""
        figure, axes = new_figure(size=(7.0, max(3.0, 0.32 * len(self.parts) + 1.2)))
        places = range(len(self.parts))
        for name, colour, label in (
            ("weight_bytes", LINES[0], "weights"),
            ("state_bytes", LINES[1], "state"),
        ):
            axes.barh(places, [getattr(p, name) / 1024 for p in self.parts], color=colour,
                      label=label)  # fmt: skip
        axes.set_yticks(places, [part.name for part in self.parts])
        axes.invert_yaxis()
        axes.set_xlabel("KiB")
        axes.legend(**ABOVE, ncols=2)
        return figure


def _cell(number: float) -> str:
    return f"{int(number):,}" if number else "–"


def manifest(
    snn: SpikingNetwork,
    data: Iterable[Any],
    *,
    num_steps: int,
    limits: Limits | None = None,
    key: str | None = None,
) -> Manifest:
    """Say what a network needs on a chip, layer by layer, and check a chip's limits.

    Args:
        snn: The network, in whole numbers or not: numbers are then of 32 bits.
        data: Some batches of images, on which spikes are counted.
        num_steps: T.
        limits: What the chip allows.
        key: Name of the input in batches that are dicts.

    Returns:
        Neurons, synapses, fan-in and fan-out, memory and spikes a step of each layer; and the
        limits that are not kept. Units of max-pooling count as neurons, and a clock's lines as
        synapses. Average pooling is not counted: it is part of the weights behind it.

    Raises:
        ConfigError: T does not fit, or the limits are no :class:`Limits`.
        DataError: There is no data.

    Example:
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> needs = manifest(convert(ann), [torch.rand(3, 8)], num_steps=4)
        >>> [(part.name, part.neurons, part.fan_in) for part in needs.parts]
        [('0', 0, 8), ('1', 16, 0), ('2', 0, 16)]
    """
    check_spiking(snn)
    if limits is not None and not isinstance(limits, Limits):
        raise ConfigError(f"limits must be a snntorch_ecl.hardware.Limits; got {limits!r:.100}")
    observer, images_seen = _Parts(snn), 0
    for images in images_in(data, key=key, desc="manifest", progress=False):
        with measuring(snn), torch.no_grad():
            snn.logits_over_time(
                images.to(device_of(snn)), num_steps=num_steps, observers=[observer]
            )
        images_seen += len(images)
    if not images_seen:
        raise DataError("the data is empty: there is no image to count spikes on")
    whole = snn.integers if isinstance(snn, IntegerNetwork) else {}
    weight_bits, membrane_bits = (whole.get(f"{n}_bits", 32) for n in ("weight", "membrane"))
    bits = (weight_bits, membrane_bits)
    parts = tuple(observer.part(name, images_seen, num_steps, *bits) for name in observer.names)
    found = Manifest(parts, num_steps, weight_bits, membrane_bits)
    if limits is None:
        return found
    return Manifest(
        parts, num_steps, weight_bits, membrane_bits, misfits_of(parts, *bits, limits), limits
    )


class _Parts(Observer):
    """Counts what each layer has, and its spikes."""

    def __init__(self, snn: SpikingNetwork) -> None:
        layers, counted = dict(snn.net.named_modules()), set(counted_layers(snn.net))
        calls = [node for node in snn.net.graph.nodes if node.op == "call_module"]
        for node in calls:  # a unit of max-pooling reads the lines itself
            users = [layers.get(str(user.target)) for user in node.users]
            if isinstance(layers[node.target], LineSum):
                counted -= {node.target} if all(map(_is_unit, users)) else set()
        named = dict.fromkeys(str(node.target) for node in calls)
        self.names = tuple(n for n in named if n in counted or isinstance(layers[n], _UNITS))
        super().__init__(self.names)
        self.snn = snn
        self.lines = any(isinstance(m, EventLines) for m in snn.net.modules())
        self.neurons = dict.fromkeys(self.names, 0)
        self.ways: dict[str, Tensor] = {}
        self.fan_in: dict[str, int] = {}
        self.spikes = dict.fromkeys(self.names, 0)
        self.negative = dict.fromkeys(self.names, 0)

    def see(self, seen: Seen) -> None:
        """Count some steps of a group of images."""
        layer = self.snn.net.get_submodule(seen.name)
        if isinstance(layer, (DualThreshold, *MAXIMA, SignedMaxPool)):
            self.neurons[seen.name] = seen.output[0].numel()
            self.spikes[seen.name] += int((seen.output != 0).sum())
            # Behind two lines, no event is below zero.
            self.negative[seen.name] += 0 if self.lines else int((seen.output < 0).sum())
        if isinstance(layer, DualThreshold) or seen.name in self.ways:
            return
        if isinstance(layer, Pulses):
            self.ways[seen.name] = torch.ones(seen.output.shape[1:])
        elif isinstance(layer, _UNITS):
            pool = layer.pool if isinstance(layer, SignedMaxPool) else layer
            sizes = (seen.input.shape[1:], seen.output.shape[1:])
            self.ways[seen.name], self.fan_in[seen.name] = windows(pool, *sizes)
        else:
            self.ways[seen.name] = fan_out(layer, seen.input)

    def part(
        self, name: str, images: int, num_steps: int, weight_bits: int, membrane_bits: int
    ) -> Part:
        """What a layer needs; a count needs the bits of T."""
        layer = self.snn.net.get_submodule(name)
        if isinstance(layer, Pulses):
            return self.clock(name, layer, membrane_bits)
        neurons, signed = self.neurons[name], isinstance(layer, SignedMaxPool)
        part = Part(
            name=name,
            kind=type(layer).__name__,
            neurons=neurons,
            spikes=self.spikes[name] / (images * num_steps),
            negative=self.negative[name] / (images * num_steps),
            takes_back=signed,
        )
        count = num_steps.bit_length()
        if isinstance(layer, DualThreshold):
            counts = layer.negative_threshold != -math.inf
            state = neurons * (membrane_bits + count * counts)
            return replace(part, takes_back=counts, state_bytes=math.ceil(state / 8))
        ways = self.ways[name]
        if isinstance(layer, _UNITS):
            lines = 2 if self.lines else 1
            return replace(
                part,
                synapses=int(ways.sum()) * lines,
                fan_in=self.fan_in[name] * lines,
                fan_out=int(ways.max()),
                # What is signed holds the count of each value that it reads.
                state_bytes=math.ceil(ways.numel() * count / 8) * signed,
            )
        weights = sum(p.numel() for p in layer.parameters())
        bias = getattr(layer, "bias", None)
        biases = bias.numel() if isinstance(bias, Tensor) else 0
        return replace(
            part,
            synapses=int(ways.sum()),
            fan_in=_fan_in(layer),
            fan_out=int(ways.max()),
            weights=weights,
            weight_bytes=math.ceil(((weights - biases) * weight_bits + biases * membrane_bits) / 8),
        )

    def clock(self, name: str, pulses: Pulses, membrane_bits: int) -> Part:
        """Lines of a clock: start, by channel; release and close, if a neuron settles on them."""
        neurons, lines = self.ways[name].numel(), 3 if pulses.first else 1
        weights = pulses.bias.shape[1] + lines - 1
        return Part(
            name=name,
            kind="clock",
            synapses=neurons * lines,
            fan_in=lines,
            fan_out=neurons,
            weights=weights,
            weight_bytes=math.ceil(weights * membrane_bits / 8),
        )


_UNITS = (*MAXIMA, SignedMaxPool, Pulses)


def _is_unit(layer: nn.Module | None) -> bool:
    return isinstance(layer, SignedMaxPool)


def _fan_in(layer: nn.Module) -> int:
    """Weights that reach one output."""
    if isinstance(layer, LineSum):
        return 2 * (len(layer.plus) if layer.plus.ndim == 2 else 1)
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim < 2:
        return 1
    several = isinstance(layer, ChannelWeights)
    return len(weight) if several else int(by_output(layer, weight).shape[1])
