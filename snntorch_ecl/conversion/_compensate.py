"""``compensate``: correct weights, biases and thresholds so that the SNN matches its ANN."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from typing import Any, Literal, get_args

import torch
from torch import nn

from .._util.batches import check_one_input, images_in
from .._util.checks import check_num_steps, check_whole_numbers
from .._util.devices import device_of
from .._util.shelf import Shelf
from ..errors import ConfigError, DataError
from ..network._check_spiking import check_spiking
from ..network._explained import explained
from ..network._network import SpikingNetwork
from ..network._step_bias import step_biases
from ._compensation import Compensation
from ._correctors import Biases, Corrector, Steps, Weights
from ._distill import Distillation
from ._layer_by_layer import LayerByLayer

Correction = Literal["weights", "biases", "steps", "distill"]

EPOCHS = 8

_LAYER_BY_LAYER: dict[Correction, type[Corrector]] = {
    "weights": Weights,
    "biases": Biases,
    "steps": Steps,
}


def compensate(
    snn: SpikingNetwork,
    ann: nn.Module,
    data: Iterable[Any],
    *,
    num_steps: int,
    method: Correction = "weights",
    epochs: int = EPOCHS,
    key: str | None = None,
    progress: bool = True,
) -> SpikingNetwork:
    """Correct a converted network from a few hundred unlabelled images.

    The first three methods go layer by layer, in the network's order, so later layers see the
    corrected ones before them. The logits come last. All methods but ``steps`` add no layers, so
    the network costs the same to run.

    - ``weights``: fits the weights and bias before each neuron by least squares, so that the mean
      current is the ANN's for each image, although the layer reads spikes. Best for networks
      trained with ReLU, above all at T = 2.
    - ``biases``: moves the bias of each channel until the mean spike output over ``num_steps`` is
      the ANN's mean activation.
    - ``steps``: gives each channel a bias for every time step, so that the mean current of each
      step is the ANN's. This adds ``[T, C]`` numbers to a layer, and one addition before each
      neuron. Best for networks trained with clips, and at T = 1.
    - ``distill``: trains all weights, biases and thresholds together until the outputs, and the
      mean output of each layer, are close to the ANN's. It takes longest and is the most accurate.
      Each batch runs as spikes without gradients; gradients are those of the means over time, as
      if neurons were clips, and cost one step instead of T. First it goes through the images
      ``epochs`` times with currents that do not change over time, then as often with spikes. Images
      ``[B, C, H, W]`` are shifted by up to an eighth of their sides and mirrored at random; the ANN
      answers for the changed image.

    Every fourth image is held out, for ``distill`` every eighth. A layer's correction is kept, or
    a half or a quarter of it, only if it brings the layer's output on these images closer to the
    ANN's; of ``distill``'s epochs the one whose outputs are closest. If in the end the network's
    outputs on them are no closer, the network is returned as it was, with a warning. What was
    tried and kept is in the network's attribute ``compensation``: ``print`` it.

    Memory holds a few images at a time, however many images and steps there are. What waits is in
    temporary files (in ``TMPDIR``): the images for ``distill``; for the others the spikes of one
    layer, a byte for each neuron, step and image, and, for ``weights``, all the ANN's activations.

    Args:
        snn: The converted network. It is not changed.
        ann: The network to agree with: the ReLU network it came from, or the prepared one. After
            ``calibrate``, give the ReLU network, as the thresholds clip the activations.
        data: A few hundred unlabelled images in batches: tensors ``[B, ...]``, tuples that begin
            with one, or dicts.
        num_steps: T at which the network will run; the correction is for this T.
        method: What to correct: ``weights``, ``biases``, ``steps``, or all at once: ``distill``.
        epochs: For ``distill``: half the number of times that it goes through the images.
        key: Name of the input in batches that are dicts.
        progress: Show a progress bar.

    Returns:
        A corrected copy of the network. Its attribute ``compensation`` is a
        :class:`~snntorch_ecl.conversion.Compensation`.

    Raises:
        ConfigError: num_steps < 1, epochs < 1, an unknown method, an ANN with other layers than
            the network, or a network that is already corrected step by step.
        DataError: Less than two images, or batches of another form.
        InputError: Images without a batch dimension, or of whole numbers.
        StateError: There is no room for the temporary files.

    Example:
        >>> from snntorch_ecl import calibrate, convert, prepare
        >>> relu_network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> data = [torch.rand(64, 8)]
        >>> snn = convert(calibrate(prepare(relu_network), data, progress=False))
        >>> better = compensate(snn, relu_network, data, num_steps=4, progress=False)
        >>> better(torch.rand(3, 8), num_steps=4).shape
        torch.Size([3, 2])
    """
    return compensated(snn, ann, data, num_steps, method, epochs, key, progress, stacklevel=3)


def compensated(
    snn: SpikingNetwork,
    ann: nn.Module,
    data: Iterable[Any],
    num_steps: int,
    method: Correction,
    epochs: int,
    key: str | None,
    progress: bool,
    *,
    stacklevel: int,
) -> SpikingNetwork:
    """As :func:`compensate`; its warning points to the caller at this level."""
    _check(snn, num_steps, method, epochs)
    # Least squares need gradients, which an inference mode around this call would forbid.
    with torch.inference_mode(False), torch.no_grad(), Shelf() as shelf:
        twin = copy.deepcopy(snn).eval()
        work: LayerByLayer | Distillation
        if method == "distill":
            work = Distillation(twin, ann, num_steps, shelf, epochs)
        else:
            work = LayerByLayer(_LAYER_BY_LAYER[method], twin, ann, num_steps, shelf)
        for images in images_in(data, key=key):
            images = (images.clone() if images.is_inference() else images).to(device_of(snn))
            with explained(work.snn, (images,)):
                work.add(images)
        if not work.images:
            raise DataError("the data is empty: there is no batch to compensate with")
        if not work.held:
            raise DataError(
                "compensate needs at least 2 images: it checks itself on images held out"
            )
        better, layers = work.done(progress=progress)
    held = work.held_out
    record = Compensation(
        method=method, num_steps=num_steps, fitted=work.images - held, held_out=held,
        before=work.before.relative, after=work.after.relative,
        kept=work.kept, layers=layers,
    )  # fmt: skip
    if not record.kept:
        better = copy.deepcopy(snn).eval()
        warnings.warn(
            f"compensate(method={method!r}) brought the outputs no closer to the ANN's on the "
            f"{held} images held out (error {record.before:.3f} before, {record.after:.3f} after); "
            "the network is returned as it was. Give more images, or try another method",
            stacklevel=stacklevel,
        )
    better.compensation = record
    return better


def _check(snn: SpikingNetwork, num_steps: int, method: str, epochs: int) -> None:
    """Refuse settings out of range, and networks that cannot be corrected, before anything runs."""
    check_num_steps(num_steps)
    if method not in get_args(Correction):
        options = ", ".join(get_args(Correction))
        raise ConfigError(f"method must be one of {options}; got {method!r}")
    if method == "steps" and hasattr(snn, "lowerings"):
        raise ConfigError(
            "method 'steps' puts layers into a network that convert returned, and this one was "
            "lowered after that. Compensate first, or take another method"
        )
    check_whole_numbers("epochs", (epochs,), lowest=1)
    check_spiking(snn)
    check_one_input(snn.net, "compensate")
    corrected = step_biases(snn.net)
    if corrected:
        raise ConfigError(
            f"the network is corrected step by step already (before {', '.join(corrected)}): "
            "compensate the network that convert returned"
        )
