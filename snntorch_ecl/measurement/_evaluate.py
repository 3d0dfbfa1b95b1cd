"""``evaluate``: accuracy of a spiking network at every t ≤ T, and the errors of its layers."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .._util.batches import check_length, check_one_input, pairs_in
from .._util.checks import check_num_steps
from .._util.devices import device_of
from ..conversion._reference import Reference
from ..errors import ConfigError, DataError
from ..network import SpikingNetwork
from ..network._check_spiking import check_spiking
from ..network._guards import measuring
from ..network._layer import levels_per_step
from ._evaluation import Evaluation, LayerActivity
from ._meters import AnswerMeter, LayerMeter, LayerObserver


def evaluate(
    snn: SpikingNetwork,
    data: Iterable[tuple[Tensor, Tensor]],
    *,
    num_steps: int,
    ann: nn.Module | None = None,
    sequences: bool = False,
    distributed: bool = False,
    progress: bool | str = True,
) -> Evaluation:
    """Measure a classifier at every t ≤ T from one run of T steps.

    Args:
        snn: The spiking network; its output must be logits ``[B, classes]``. It runs where its
            parameters are; the data is moved there. Its state is reset.
        data: Batches ``(images [B, ...], labels [B])``, such as a ``DataLoader`` gives.
        num_steps: T ≥ 1.
        ann: The network it came from (prepared, or the ReLU network). It adds its accuracy, the
            agreement and the layers' errors. It is run in eval mode and not changed.
        sequences: The images are ``[T, B, ...]``, one input for each step, such as event data.
        distributed: Add up over all processes of ``torch.distributed``; each passes its own share
            of the data.
        progress: Show a progress bar; a text names it.

    Returns:
        The figures; shares lie within [0, 1].

    Raises:
        ConfigError: num_steps < 1, or an ANN that ``snn`` was not converted from, or an ANN for
            sequences, which it cannot take.
        DataError: No data, or batches of another form, or sequences of another length.
        InputError: Images hold NaN or infinity.

    Example:
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> data = [(torch.rand(5, 8), torch.tensor([0, 1, 0, 1, 0]))]
        >>> result = evaluate(convert(ann), data, num_steps=4, ann=ann, progress=False)
        >>> len(result.accuracy), result.samples
        (4, 5)
    """
    check_num_steps(num_steps)
    check_spiking(snn)
    check_one_input(snn.net, "evaluate")
    if sequences and ann is not None:
        raise ConfigError("ann= cannot be compared on sequences: an ANN has no steps")
    answers, device = AnswerMeter(num_steps), device_of(snn)
    reference = None if ann is None else Reference(ann, snn)
    meters = {name: LayerMeter(name, num_steps, snn.spike_worth(name)) for name in snn.neurons}
    layers = LayerObserver(meters, reference)
    for images, labels in pairs_in(data, desc="evaluate", progress=progress, sequences=sequences):
        if sequences:
            check_length(images, num_steps)
        with measuring(snn), torch.inference_mode():
            logits = snn.logits_over_time(
                images.to(device), num_steps=num_steps, observers=[layers], held=not sequences
            )
            answers.add(logits, labels.to(device), layers.take_answers())
    if distributed:
        answers.gather()
        for meter in meters.values():
            meter.gather()
    if not answers.samples:
        raise DataError("the data is empty: there is no batch to evaluate on")
    return Evaluation(
        samples=answers.samples,
        num_steps=num_steps,
        accuracy=answers.accuracy,
        ann_accuracy=None if ann is None else answers.ann_accuracy,
        agreement=None if ann is None else answers.agreement,
        layers=tuple(
            LayerActivity(name, meter.error, meter.spike_rate, meter.negative_rate)
            for name, meter in meters.items()
        ),
        levels_per_step=levels_per_step(snn.neurons.values()),
    )
