"""Thresholds for spikes that come unevenly.

Calibration chooses θ for constant currents. Spikes make currents uneven: what comes in a burst, a
neuron cannot emit in the steps that are left. A larger θ leaves fewer levels and more room.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .._util.batches import images_in
from .._util.devices import device_of
from .._util.torch_internals import tree_map
from ..network import SpikingNetwork
from ..network._guards import measuring
from ..nn import DualThreshold
from ._layer_by_layer import Error, closer
from ._reference import Reference

# θ is made so many times as large, until outputs come no closer; on so many images.
_FACTORS = (1.15, 1.3, 1.5, 1.75, 2.0)
_IMAGES = 32


def widened(
    snn: SpikingNetwork,
    ann: nn.Module,
    data: Iterable[Any],
    num_steps: int,
    *,
    key: str | None = None,
    progress: bool = True,
) -> SpikingNetwork:
    """The network with all thresholds times the factor that brings outputs closest to the ANN's.

    Every second image chooses the factor. The network is returned as it is if the other images are
    no closer with it, and where spikes are not worth θ.
    """
    if not all(map(_is_worth_its_threshold, snn.neurons.values())):
        return snn
    with torch.no_grad():
        images = _first(data, key).to(device_of(snn))
        wanted = Reference(ann, snn).run(images)[0]
        best, before = snn, _errors(snn, images, wanted, num_steps)
        least = before
        for factor in tqdm(
            _FACTORS, desc="thresholds", unit="run", disable=not progress, leave=False, delay=2
        ):
            tried = _times(snn, factor)
            errors = _errors(tried, images, wanted, num_steps)
            if not closer(errors[0], least[0]):
                break
            best, least = tried, errors
    return best if closer(least[1], before[1]) else snn


def _is_worth_its_threshold(neuron: DualThreshold) -> bool:
    learned = isinstance(neuron.threshold, nn.Parameter)
    return not learned and torch.equal(neuron.threshold, neuron.graded_spikes_factor)


def _first(data: Iterable[Any], key: str | None) -> Tensor:
    """The first few images, as far as they are of one size."""
    found: list[Tensor] = []
    for images in images_in(data, key=key):
        if found and images.shape[1:] != found[0].shape[1:]:
            break
        found.append(images[: _IMAGES - sum(map(len, found))])
        if sum(map(len, found)) == _IMAGES:
            break
    return torch.cat(found)


def _times(snn: SpikingNetwork, factor: float) -> SpikingNetwork:
    """A copy whose thresholds are larger, and whose spikes are worth them."""
    twin = copy.deepcopy(snn)
    for neuron in twin.neurons.values():
        neuron.threshold.mul_(factor)
        neuron.graded_spikes_factor.mul_(factor)
    return twin


def _errors(snn: SpikingNetwork, images: Tensor, wanted: Any, num_steps: int) -> list[Error]:
    """How far outputs are from what is wanted, for the images that choose and the others."""
    with measuring(snn):
        found = snn(images, num_steps=num_steps)
    errors = []
    for half in (slice(0, None, 2), slice(1, None, 2)):
        errors.append(Error())
        errors[-1].add(_rows(found, half), _rows(wanted, half))
    return errors


def _rows(tree: Any, rows: slice) -> Any:
    return tree_map(lambda v: v[rows] if isinstance(v, Tensor) and v.ndim else v, tree)
