"""``energy``: the cost of a network on a chip that computes only where spikes arrive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

from .._util.batches import check_length, check_one_input, images_in
from .._util.checks import check_num_steps
from .._util.devices import device_of
from .._util.processes import summed
from ..errors import DataError
from ..network import Observer, Seen, SpikingNetwork
from ..network._check_spiking import check_spiking
from ..network._guards import measuring
from ..network._layer import levels_per_step
from ..nn import Difference, DualThreshold, Scale
from ._costs import Constants, Energy, LayerCost
from ._synapses import (
    FloatMeter,
    NeuronMeter,
    ProductMeter,
    SynapseMeter,
    counted_layers,
    is_product,
    uncounted,
)


def energy(
    snn: SpikingNetwork,
    data: Iterable[Any],
    *,
    num_steps: int,
    constants: Constants | None = None,
    key: str | None = None,
    sequences: bool = False,
    distributed: bool = False,
    progress: bool = True,
) -> Energy:
    """Count a network's operations on real data, and estimate their energy on a chip.

    Layers before the first neuron multiply, once for all steps. Behind neurons, a spike of either
    sign triggers one addition at each of its synapses. A spike of any of several sizes
    (``spike_sizes=K``) counts as one addition too, of a shifted weight: the sizes are θ, θ/2, θ/4,
    and so on. In a product of two streams of spikes, each spike adds a row or a column of the other
    one's running sum. Values that are averages or sums of spikes (behind average pooling, for
    example, or behind max-pooling of several sizes) multiply where they are not zero.

    Args:
        snn: The spiking network. Its state is reset.
        data: Batches: tensors ``[B, ...]``, tuples that begin with one, or dicts.
        num_steps: T ≥ 1.
        constants: Energy of each operation, in picojoules.
        key: Name of the input in batches that are dicts.
        sequences: The inputs are ``[T, B, ...]``, one for each step, such as event data. Then all
            layers run at every step, and zeros in the input cost nothing.
        distributed: Add up over all processes of ``torch.distributed``; each passes its own share
            of the data.
        progress: Show a progress bar.

    Returns:
        The costs of one image, the mean over the data.

    Raises:
        ConfigError: num_steps < 1.
        DataError: No data, or batches of another form, or sequences of another length.

    Example:
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> cost = energy(convert(ann), [torch.rand(5, 8)], num_steps=4, progress=False)
        >>> cost.total("macs"), cost.total("ann_macs")  # 8 · 16; 8 · 16 + 16 · 2
        (128.0, 160.0)
    """
    check_num_steps(num_steps)
    check_spiking(snn)
    check_one_input(snn.net, "energy")
    sizes = max((neuron.spike_sizes for neuron in snn.neurons.values()), default=1)
    counter, samples = _Counter(snn.net, num_steps, sizes), 0
    for images in images_in(data, key=key, desc="energy", progress=progress):
        if sequences:
            check_length(images, num_steps)
        with measuring(snn), torch.no_grad():
            snn.logits_over_time(
                images.to(device_of(snn)),
                num_steps=num_steps,
                observers=[counter],
                held=not sequences,
            )
            samples += images.shape[1] if sequences else len(images)
    counts, samples = counter.counts(samples, distributed=distributed)
    if not samples:
        raise DataError("the data is empty: there is no batch to count on")
    layers = tuple(
        _cost(name, snn.net.get_submodule(name), layer, samples) for name, layer in counts.items()
    )
    return Energy(
        samples,
        num_steps,
        layers,
        uncounted(snn.net),
        constants or Constants(),
        levels_per_step(snn.neurons.values()),
    )


Meter = SynapseMeter | NeuronMeter | FloatMeter


class _Counter(Observer):
    """Counts the operations of each call of the counted layers."""

    def __init__(self, net: GraphModule, num_steps: int, spike_sizes: int) -> None:
        super().__init__(tuple(counted_layers(net)))
        self.net, self.num_steps, self.spike_sizes = net, num_steps, spike_sizes
        self.order = tuple(counted_layers(net))
        self.meters: dict[str, dict[str, Meter]] = {name: {} for name in self.order}

    def see(self, seen: Seen) -> None:
        """Count the operations of a call of a layer."""
        calls = self.meters[seen.name]
        if seen.call not in calls:
            layer = self.net.get_submodule(seen.name)
            calls[seen.call] = self._meter(layer)
        calls[seen.call].see(seen)

    def _meter(self, layer: nn.Module) -> Meter:
        if isinstance(layer, DualThreshold):
            return NeuronMeter(layer)
        if isinstance(layer, Difference) and is_product(layer):
            return ProductMeter(layer, self.num_steps, self.spike_sizes)
        if isinstance(layer, Difference):
            return FloatMeter(layer, self.num_steps)
        return SynapseMeter(layer, self.num_steps, self.spike_sizes)

    def counts(
        self, samples: int, *, distributed: bool
    ) -> tuple[dict[str, Mapping[str, float]], int]:
        """The counts of each layer and the number of images; if distributed, of all processes."""
        found = {
            name: {key: sum(_of(meter)[key] for meter in calls.values()) for key in _COUNTED}
            for name, calls in self.meters.items()
        }
        if distributed:
            flat = [float(samples), *(found[name][key] for name in self.order for key in _COUNTED)]
            first, *others = summed(torch.tensor(flat, dtype=torch.float64)).tolist()
            samples, values = round(first), iter(others)
            found = {name: {key: next(values) for key in _COUNTED} for name in self.order}
        # These are for one image, and so not summed over processes.
        for name, calls in self.meters.items():
            for meter in calls.values():
                if isinstance(meter, NeuronMeter):
                    found[name] |= {"neurons": meter.neurons, "state_bytes": meter.state_bytes}
        return dict(found), samples


_COUNTED = ("macs", "acs", "ann_macs", "floats", "ann_floats", "updates", "spikes", "negative")


def _of(meter: Meter) -> dict[str, float]:
    counts = dict.fromkeys(_COUNTED, 0.0)
    if isinstance(meter, SynapseMeter):
        return counts | {"macs": meter.macs, "acs": meter.acs, "ann_macs": meter.dense}
    if isinstance(meter, ProductMeter):
        return counts | meter.counts
    if isinstance(meter, FloatMeter):
        return counts | {"floats": meter.floats, "ann_floats": meter.dense}
    return counts | {
        "updates": meter.updates,
        "spikes": meter.spikes,
        "negative": meter.negative,
    }


def _cost(name: str, module: nn.Module, counts: Mapping[str, float], samples: int) -> LayerCost:
    return LayerCost(
        name,
        type(module).__name__,
        **{key: counts[key] / samples for key in _COUNTED},
        neurons=int(counts.get("neurons", 0)),
        state_bytes=int(counts.get("state_bytes", 0)),
        parameters=_parameters(module),
    )


def _parameters(module: nn.Module) -> int:
    if isinstance(module, DualThreshold):
        return int(module.threshold.numel())
    # The constants of a Scale are no parameters, but need memory on a chip like weights.
    own = [module.scale] if isinstance(module, Scale) else module.parameters()
    return sum(p.numel() for p in own)
