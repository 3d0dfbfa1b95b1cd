"""``calibrate``: thresholds from unlabelled data, for networks never trained with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from .._util.batches import check_one_input, images_in
from .._util.checks import SMALLEST_THRESHOLD, check_neuron, check_whole_numbers
from .._util.devices import device_of
from .._util.processes import summed
from ..errors import ConfigError, DataError, InputError, NotPreparedError
from ..graph._trace import copied
from ..network._refusing_layer import layer_named
from ..nn._threshold_clip import ThresholdClip, clips_of
from ._histogram import Histogram
from ._reference import watching

Method = Literal["mse", "percentile", "max"]

# Activations counted at once; counting them takes some 40 MiB.
_COUNTED_AT_ONCE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig:
    """How thresholds are chosen.

    Attributes:
        method: ``mse``: the λ whose L levels are closest to the activations; ``percentile``: the
            value that a share of the positive activations does not exceed; ``max``: the largest
            activation.
        percentile: That share, in per cent.
        num_steps: Number of levels that ``mse`` uses instead of each clip's L: the T at which the
            network will run.
        spike_sizes: K of the neurons, whose levels ``mse`` then uses: 2T with two sizes.

    Raises:
        ConfigError: A setting is outside its range.

    Example:
        >>> CalibrateConfig(method="percentile", percentile=99.0).num_steps is None
        True
    """

    method: Method = "mse"
    percentile: float = 99.9
    num_steps: int | None = None
    spike_sizes: int = 1

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            options = ", ".join(get_args(Method))
            raise ConfigError(f"method must be one of {options}; got {self.method!r}")
        if not 0 < self.percentile <= 100:
            raise ConfigError(f"percentile must lie in (0, 100]; got {self.percentile!r}")
        if self.num_steps is not None:
            check_whole_numbers("num_steps", (self.num_steps,), lowest=1)
        check_neuron(0.0, 0.5, self.spike_sizes)


def calibrate(
    model: nn.Module,
    data: Iterable[Any],
    *,
    method: Method = "mse",
    percentile: float = 99.9,
    num_steps: int | None = None,
    spike_sizes: int = 1,
    key: str | None = None,
    distributed: bool = False,
    progress: bool = True,
) -> nn.Module:
    """Set every threshold of a prepared network from unlabelled data.

    The data is run once, in eval mode, and without thresholds. Activations are counted in fixed
    bins, so memory does not grow with the data, and the order of the batches does not matter.
    Thresholds that are set already, by training or an earlier calibration, are chosen anew as if
    they were not: convert a network that was trained with them as it is.

    Args:
        model: What :func:`~snntorch_ecl.prepare` returned for a trained ReLU network; if it was
            prepared with ``per_channel=True``, each channel gets its own threshold. It is not
            changed.
        data: Batches, such as a ``DataLoader`` gives: tensors ``[B, ...]``, tuples that begin
            with one, or dicts.
        method: ``mse``, ``percentile`` or ``max``; see :class:`CalibrateConfig`.
        percentile: For ``percentile``, within (0, 100].
        num_steps: For ``mse``: use T levels instead of each clip's L.
        spike_sizes: For ``mse``: the K that ``convert`` will be given; more sizes give more levels.
        key: Name of the input in batches that are dicts.
        distributed: Add up over all processes of ``torch.distributed``; each passes its own share
            of the data.
        progress: Show a progress bar.

    Returns:
        A copy of the model with all thresholds set, ready for ``convert`` or for fine-tuning.

    Raises:
        ConfigError: A setting is outside its range, or ``mse`` has no number of levels.
        NotPreparedError: The model has no ``ThresholdClip``.
        DataError: No data, or batches of another form.
        InputError: Activations are NaN or infinite, or a layer never activates (named).

    Example:
        >>> from snntorch_ecl import convert, prepare
        >>> relu_network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> ann = calibrate(prepare(relu_network), [torch.rand(32, 8)], method="max")
        >>> convert(ann)(torch.rand(3, 8), num_steps=4).shape
        torch.Size([3, 2])
    """
    config = CalibrateConfig(
        method=method, percentile=percentile, num_steps=num_steps, spike_sizes=spike_sizes
    )
    model = copied(model)
    clips = clips_of(model)
    if not clips:
        raise NotPreparedError(
            f"{type(model).__name__} has no ThresholdClip: call prepare(model) first"
        )
    if method == "mse" and num_steps is None:
        unlevelled = [name for name, clip in clips.items() if clip.levels is None]
        if unlevelled:
            raise ConfigError(
                f"method 'mse' needs a number of levels, and {', '.join(unlevelled[:3])} has none: "
                "give num_steps, or prepare with levels"
            )
    check_one_input(model, "calibrate")
    watchers = {name: _Watcher(name, clip) for name, clip in clips.items()}
    _watch(model, watchers, data, key, progress)
    unseen = [name for name, watcher in watchers.items() if not watcher.seen]
    # Summed before any process raises: otherwise the others would wait for it forever.
    lacking = int(summed(torch.tensor(len(unseen)))) if distributed else len(unseen)
    if len(unseen) == len(watchers):
        raise DataError("the data is empty: there is no batch to calibrate on")
    if unseen:
        raise InputError(f"the data never reached {', '.join(unseen)}; its threshold is unknown")
    if lacking:
        raise DataError("another process has no data to calibrate on; give every process a share")
    if distributed:
        for watcher in watchers.values():
            watcher.gather()
    # Choose all before setting the first, so that an error at a dead layer changes nothing.
    chosen = {name: watcher.choose(config) for name, watcher in watchers.items()}
    for name, threshold in chosen.items():
        clips[name].threshold = threshold
    return model


def _watch(
    model: nn.Module,
    watchers: Mapping[str, _Watcher],
    data: Iterable[Any],
    key: str | None,
    progress: bool,
) -> None:
    """Run all data through the model with every clip unset, a plain ReLU."""
    device = device_of(model)
    for watcher in watchers.values():
        watcher.clip.unset()
    clips = {name: watcher.clip for name, watcher in watchers.items()}
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad(), watching(clips, lambda name, seen: watchers[name].see(seen.output)):
        for images in images_in(data, key=key, desc="calibrate", progress=progress):
            images = images.to(device)
            with layer_named(model, images):
                model(images)
    for module, training in modes.items():
        module.training = training


class _Watcher:
    """Counts the output of one clip while it is a plain ReLU."""

    def __init__(self, name: str, clip: ThresholdClip) -> None:
        self.name = name
        self.clip = clip
        self.histogram: Histogram | None = None

    @property
    def seen(self) -> bool:
        """Whether any data reached the clip."""
        return self.histogram is not None

    def see(self, output: Tensor) -> None:
        """Count a batch of activations, a few images at a time to save memory."""
        if not bool(output.isfinite().all()):
            raise InputError(
                f"{self.name}: activations of shape {list(output.shape)} hold NaN or infinity; "
                "check the data and the layers before it"
            )
        if self.clip.per_channel and output.ndim < 2:
            raise InputError(
                f"{self.name}: per-channel thresholds need input [B, C, ...], not "
                f"{list(output.shape)}"
            )
        if self.histogram is None:
            self.histogram = Histogram(output.shape[1] if self.clip.per_channel else 1)
        if self.clip.signed:
            output = output.abs()  # both sides have the same levels
        few = max(1, _COUNTED_AT_ONCE * len(output) // output.numel())
        for part in torch.split(output, few):
            self.histogram.add(part.transpose(0, 1) if self.clip.per_channel else part[None])

    def gather(self) -> None:
        """Add what the other processes have counted."""
        if self.histogram is not None:
            self.histogram.gather()

    def choose(self, config: CalibrateConfig) -> Tensor:
        """λ of the layer ``[]``, or of its channels ``[C]``."""
        assert self.histogram is not None
        if config.method == "max":
            chosen = self.histogram.maximum
        elif config.method == "percentile":
            chosen = self.histogram.quantile(config.percentile / 100)
        else:
            levels = config.num_steps or self.clip.levels
            assert levels is not None
            chosen = self.histogram.least_error(levels, config.spike_sizes)
        alive = chosen >= SMALLEST_THRESHOLD
        if not bool(alive.any()):
            raise InputError(
                f"{self.name}: no activation above {SMALLEST_THRESHOLD:g} in all the data (the "
                f"largest is {float(self.histogram.maximum.max()):g}): the layer is dead, or the "
                "data is not what the network was trained on"
            )
        # A channel that was never active gets the layer's largest threshold: it will hardly fire.
        chosen = torch.where(alive, chosen, chosen.max())
        return chosen if self.clip.per_channel else chosen.squeeze(0)
