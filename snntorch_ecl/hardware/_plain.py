"""``plain``: integrate-and-fire neurons without second threshold, calibrated for that."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

from torch import nn

from ..conversion import compensate
from ..conversion._compensate import Correction
from ..errors import ConfigError
from ..network import SpikingNetwork
from ..network._check_spiking import check_spiking
from ._lowered import LoweredNetwork


def plain(
    snn: SpikingNetwork,
    ann: nn.Module,
    data: Iterable[Any],
    *,
    num_steps: int,
    method: Correction = "distill",
    epochs: int = 8,
    key: str | None = None,
    progress: bool = True,
) -> SpikingNetwork:
    """Drop the second threshold of all neurons, and correct the network for what that costs.

    For chips with plain integrate-and-fire neurons and no time to settle. It is not equal: a spike
    that came too early stays. Thresholds, weights and biases are corrected for neurons without
    second threshold, on unlabelled images, as :func:`compensate` does; how much accuracy that
    leaves is on the page *Figures*. Where it is too little, see :func:`settle_then_fire`.

    Args:
        snn: What ``convert`` returned. It is copied, not changed.
        ann: The network to agree with, as for :func:`compensate`.
        data: A few hundred unlabelled images in batches.
        num_steps: T at which the network will run.
        method: What is corrected; ``distill`` corrects thresholds as well.
        epochs: For ``distill``.
        key: Name of the input in batches that are dicts.
        progress: Show a progress bar.

    Returns:
        The network. Its attribute ``compensation`` says what was corrected.

    Raises:
        ConfigError: The network is lowered already; or as for :func:`compensate`.
        DataError, InputError, StateError: As for :func:`compensate`.

    Example:
        >>> import torch
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> _ = torch.manual_seed(0)
        >>> clips = [ThresholdClip(4, 2.0), ThresholdClip(4, 1.0)]
        >>> layers = [nn.Linear(8, 32), clips[0], nn.Linear(32, 32), clips[1], nn.Linear(32, 2)]
        >>> ann, data = nn.Sequential(*layers), [torch.randn(256, 8)]
        >>> chip = plain(convert(ann), ann, data, num_steps=4, method="biases", progress=False)
        >>> [neuron.negative_threshold for neuron in chip.neurons.values()]
        [-inf, -inf]
    """
    check_spiking(snn)
    if isinstance(snn, LoweredNetwork):
        raise ConfigError("this network is lowered already; give the one that convert returned")
    twin = copy.deepcopy(snn)
    for neuron in twin.neurons.values():
        neuron.negative_threshold = -math.inf
    return compensate(
        twin,
        ann,
        data,
        num_steps=num_steps,
        method=method,
        epochs=epochs,
        key=key,
        progress=progress,
    )
