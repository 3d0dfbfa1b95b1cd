"""``convert_pretrained``: from a trained network to a spiking one, in one call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

from torch import nn

from .._util.checks import check_neuron, check_num_steps
from ..errors import ConfigError, DataError
from ..graph._registry import Handlers
from ..network._network import SpikingNetwork
from ._calibrate import calibrate
from ._compensate import EPOCHS, Correction, compensated
from ._convert import convert
from ._prepare import prepare
from ._widen import widened

Budget = Literal["fast", "good", "best"]

_METHODS: dict[Budget, Correction] = {"good": "weights", "best": "distill"}


def convert_pretrained(
    model: nn.Module,
    data: Iterable[Any],
    *,
    num_steps: int,
    budget: Budget = "good",
    negative_threshold: float = -1e-3,
    spike_sizes: int = 1,
    signed: bool = False,
    handlers: Handlers | None = None,
    leaf_modules: Iterable[type[nn.Module]] = (),
    example: Any = None,
    key: str | None = None,
    progress: bool = True,
) -> SpikingNetwork:
    """Turn a trained network into a spiking one, from a few hundred unlabelled images.

    It does what :func:`~snntorch_ecl.prepare`, :func:`~snntorch_ecl.calibrate`,
    :func:`~snntorch_ecl.convert` and :func:`~snntorch_ecl.compensate` do one by one, with a
    threshold for each channel (with ``signed``, for each layer).

    Args:
        model: A trained network with ReLU, ReLU6 or Hardtanh(0, a), or with ``signed`` any that
            ``prepare`` takes. It is not changed, also when the call is interrupted.
        data: A few hundred unlabelled images in batches: tensors ``[B, ...]``, tuples that begin
            with one, or dicts. They are read more than once: a ``DataLoader`` or a list.
        num_steps: T at which the network will run.
        budget: ``fast`` calibrates, which runs the network once, and makes thresholds larger where
            that helps, as 32 images say. ``good`` corrects the weights instead.
            ``best`` trains weights, biases and thresholds together in place of that, with
            ``compensate``'s method ``distill``: 8 runs of the spiking network on all images, and
            16 of the ANN with gradients.
        negative_threshold: As for ``convert``.
        spike_sizes: As for ``convert``: K spike sizes, for hardware with graded spikes.
        signed: As for ``prepare``: signed spikes for networks without rectifiers, such as
            transformers. Take ``budget="best"`` there: few of their layers can be corrected alone.
        handlers: As for ``convert``.
        leaf_modules: As for ``prepare``.
        example: As for ``prepare``: inputs whose shapes the network's code may ask for.
        key: Name of the input in batches that are dicts.
        progress: Show progress bars.

    Returns:
        The spiking network. Unless the budget is ``fast``, its attribute ``compensation`` says
        what was tried and kept.

    Raises:
        ConfigError: An unknown budget, num_steps < 1, or a setting outside its range.
        TraceError, UnsupportedError: As for ``prepare``.
        DataError: No data, batches of another form, or data that can be read only once.
        InputError: Activations are NaN or infinite, or a layer never activates.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> relu_network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> data = [torch.randn(256, 8)]
        >>> snn = convert_pretrained(relu_network, data, num_steps=4, progress=False)
        >>> snn(torch.rand(3, 8), num_steps=4).shape
        torch.Size([3, 2])
    """
    check_num_steps(num_steps)
    if budget not in get_args(Budget):
        raise ConfigError(f"budget must be one of {', '.join(get_args(Budget))}; got {budget!r}")
    check_neuron(negative_threshold, 0.5, spike_sizes)  # here, not after minutes of calibration
    if iter(data) is data:
        raise DataError(
            f"data is a {type(data).__name__}, which can be read only once; convert_pretrained "
            "reads it several times. Give a DataLoader, or a list of batches"
        )
    leaf_modules = tuple(leaf_modules)
    ann = prepare(
        model,
        levels=num_steps,
        # Channels are dimension 1, which in transformers counts tokens.
        per_channel=not signed,
        signed=signed,
        leaf_modules=leaf_modules,
        handlers=handlers,
        example=example,
    )
    clipped = calibrate(
        ann, data, num_steps=num_steps, spike_sizes=spike_sizes, key=key, progress=progress
    )
    snn = convert(
        clipped,
        negative_threshold=negative_threshold,
        spike_sizes=spike_sizes,
        handlers=handlers,
        leaf_modules=leaf_modules,
    )
    if budget == "fast":
        return widened(snn, ann, data, num_steps, key=key, progress=progress)
    method = _METHODS[budget]
    return compensated(snn, ann, data, num_steps, method, EPOCHS, key, progress, stacklevel=3)
