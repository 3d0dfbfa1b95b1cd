"""``to_integers``: a network whose currents, thresholds and membranes are whole numbers."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from .._util.batches import images_in
from .._util.devices import device_of
from ..conversion._load import LOWERINGS
from ..errors import ConfigError, DataError, StateError
from ..graph._trace import finish
from ..network import SpikingNetwork
from ..network._check_spiking import check_spiking
from ..network._guards import measuring
from ._lowered import LoweredNetwork
from ._whole_graph import WholeGraph
from ._whole_layers import WholeNeuron
from ._whole_values import Options


class IntegerNetwork(LoweredNetwork):
    """A spiking network that computes with whole numbers; :func:`to_integers` makes it.

    It is used like any other. Whole numbers are held in float64, where sums of them are exact:
    step by step, as a whole run, in any batch and on any device the spikes are the same, and the
    outputs are, bit for bit. ``snn.neurons[name].threshold`` is 2^k, ``snn.spike_worth(name)`` θ.

    Args:
        net: The graph, with time inserted.
        source: The network it was made from.
        lowering: The settings, as ``integers`` shows them.

    Example:
        >>> from torch import nn
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> snn = to_integers(convert(ann))
        >>> snn.net.get_submodule("2").weight.frac().any().item()
        False
    """

    def __init__(
        self, net: GraphModule, source: SpikingNetwork, lowering: Mapping[str, Any]
    ) -> None:
        super().__init__(net, source, lowering, unit_spikes=True)

    @property
    def integers(self) -> dict[str, int]:
        """The settings: numbers of bits, and the T for which overflow was ruled out."""
        (settings,) = (one for one in self._lowerings if one["kind"] == "integers")
        return {name: settings[name] for name in _STORED}

    def spike_worth(self, name: str) -> Tensor:
        """What one spike of a neuron is worth in the unit of the ANN's activation: θ.

        Args:
            name: The neuron's layer.

        Returns:
            θ, ``[]`` or ``[C]``.
        """
        neuron = self.neurons[name]
        assert isinstance(neuron, WholeNeuron)
        return neuron.worth.float()

    def _tensors(self) -> dict[str, Tensor]:
        """Whole numbers in the smallest types that hold them."""
        return {
            name: value if name.endswith(_FLOATS) else _smallest(value)
            for name, value in super()._tensors().items()
        }

    def _apply(self, fn: Any, recurse: bool = True) -> IntegerNetwork:
        if fn(torch.zeros(1, dtype=torch.float64)).dtype != torch.float64:
            raise ConfigError(
                "an integer network holds its whole numbers in float64, which no other type can "
                "replace; move it with .to(device) alone"
            )
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


_STORED = ("weight_bits", "membrane_bits", "input_bits", "input_fraction_bits", "num_steps")
_FLOATS = (".threshold", ".graded_spikes_factor")  # snnTorch's neurons take no others


def to_integers(
    snn: SpikingNetwork,
    data: Iterable[Any] | None = None,
    *,
    weight_bits: int = 8,
    membrane_bits: int = 24,
    input_bits: int = 12,
    input_fraction_bits: int = 8,
    num_steps: int = 32,
    key: str | None = None,
) -> SpikingNetwork:
    """Make the network that a chip computes: whole weights, currents, thresholds and membranes.

    Each neuron's unit is θ/2^k, with the largest k for which the weights of its channel fit; its
    threshold is 2^k. Shortcuts become whole weights by channel, of up to 4 synapses that add up.
    Averages keep 8 binary places.
    Products of inputs and averages are divided by a power of two and rounded, so that their
    weights use all their bits. Biases have the membrane's bits. Spikes are −1, 0 and +1; outputs
    have the ANN's unit, in steps of a power of two.

    Args:
        snn: What ``convert`` returned, batch norms folded or not. It is copied, not changed.
        data: Batches on which to measure membranes, in place of bounds: these hold for any input
            in its range, and so may ask for more bits than any image needs.
        weight_bits: Size of a weight, sign included, 2 to 16.
        membrane_bits: Size of a membrane, sign included, 8 to 32.
        input_bits: Size of an input value, sign included.
        input_fraction_bits: Its binary places: 12 bits with 8 places reach from −8 to 8.
        num_steps: T up to which no membrane overflows. Longer runs stop with an error where one
            does.
        key: Name of the input in batches that are dicts.

    Returns:
        The network, which ``evaluate``, ``energy``, ``predict``, ``save`` and ``load`` take. Its
        tensors are float64.

    Raises:
        ConfigError: A number of bits is outside its range; or weights or membranes do not fit:
            the error names the layer, what it needs, and what to change.
        UnsupportedError: A layer or operation is not known to compute with whole numbers.
        InputError: The data is outside the inputs' range.
        DataError: There is no data.

    Example:
        >>> from torch import nn
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> snn, images = to_integers(convert(ann)), torch.rand(3, 8)
        >>> whole = snn(images, num_steps=4)
        >>> outputs = [snn.step(images) for _ in (snn.reset(), 1, 2, 3)]
        >>> torch.equal(torch.stack(outputs).sum(0) / 4, whole)
        True
    """
    check_spiking(snn)
    if isinstance(snn, IntegerNetwork):
        raise ConfigError("this network computes with integers already; give the one it came from")
    options = Options(
        weight_bits=weight_bits,
        membrane_bits=membrane_bits,
        input_bits=input_bits,
        input_fraction_bits=input_fraction_bits,
        num_steps=num_steps,
        bounded=data is None,
    )
    network = _lowered(snn, options)
    if data is not None:
        _measure(network, data, network.latency or num_steps, key)
    return network


def _lowered(snn: SpikingNetwork, options: Options) -> IntegerNetwork:
    """The integer network, on the source's device."""
    net = finish(WholeGraph(copy.deepcopy(snn.net).eval(), options).build())
    settings = {name: value for name, value in asdict(options).items() if name in _STORED}
    return IntegerNetwork(net, snn, {"kind": "integers", **settings}).to(device_of(snn)).eval()


def _measure(network: IntegerNetwork, data: Iterable[Any], num_steps: int, key: str | None) -> None:
    """Run the data, and refuse membranes that overflow."""
    images_seen = 0
    try:
        for images in images_in(data, key=key, desc="integers", progress=False):
            with measuring(network), torch.no_grad():
                network(images.to(device_of(network)), num_steps=num_steps)
            images_seen += len(images)
    except StateError as error:
        raise ConfigError(f"on this data and within {num_steps} steps, {error}") from error
    if not images_seen:
        raise DataError("the data is empty: there is no batch on which to measure membranes")


def _rebuilt(snn: SpikingNetwork, settings: Mapping[str, Any]) -> SpikingNetwork:
    """The network that a file's whole numbers fit into."""
    numbers = {name: settings[name] for name in _STORED}
    return _lowered(snn, Options(**numbers, checked=False))


LOWERINGS["integers"] = _rebuilt


def _smallest(value: Tensor) -> Tensor:
    """Whole numbers in the smallest type of integers; anything else as it is."""
    if value.dtype != torch.float64 or bool((value != value.round()).any()):
        return value
    largest = float(value.abs().max()) if value.numel() else 0.0
    for dtype in (torch.int8, torch.int16, torch.int32):
        if largest <= torch.iinfo(dtype).max:
            return value.to(dtype)
    return value
