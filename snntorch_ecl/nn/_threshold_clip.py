"""``ThresholdClip``: train an ANN with this activation, and its SNN needs few steps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .. import functional as F
from .._util.checks import SMALLEST_THRESHOLD, at, check_levels, check_threshold
from .._util.processes import largest, world_size
from .._util.torch_internals import can_be_read, inside_ddp, outside_graphs
from ..errors import ConfigError, StateError, ThresholdUnsetError
from ..functional._activation import clip_unchecked
from ..functional._channels import as_text, over_channels
from ._per_channel import contradicts, single_over_unset
from ._quantiles import raised_threshold, starting_threshold

_BATCHES_TO_FOLLOW = 100


class ThresholdClip(nn.Module):
    r"""Clip-and-quantise activation with a learned threshold λ, in place of ReLU.

    .. math:: h(x) = λ · \mathrm{clip}(⌊x·L/λ + 1/2⌋ / L,\; 0,\; 1)

    While λ is unset, the layer is a plain ReLU. The first batch in training mode sets λ to the
    99.9 % quantile of the positive activations, for each channel if ``per_channel``. λ is trained
    with the other parameters. It stays positive whatever the optimiser does: the layer uses
    :func:`~snntorch_ecl.functional.positive` of its parameter ``raw_threshold``.

    Over the 100 training batches after the first, λ also follows a network that still finds its
    scale: if more than a quarter of a batch's positive activations exceed λ, it is raised to their
    99.9 % quantile. A layer that is clipped everywhere passes no gradient and would never learn.
    Networks with batch norms hardly ever need it. Assigning ``threshold`` ends it. Code that was
    compiled after λ was set does not do it; ``compile()`` of a prepared network waits until then.

    With ``signed``, for values of either sign, it clips between −λ and λ with L levels on either
    side of 0; unset it passes its input on, and quantiles are those of ``|x|``.

    Whether λ is set stands in ``raw_threshold`` itself, as NaN or not, and travels with it
    however parameters are copied. A clip of one λ a channel has its shape only once it is set:
    copy it in place after that. On an accelerator, and in compiled code, a clip that was set and
    gets NaN copied over it in place gives NaN, since reading λ at every call would stall it.

    Args:
        levels: L ≥ 1, the number of levels above zero; None clips without quantising.
        threshold: λ > 0 in the unit of the activations: a number, a tensor of shape ``[]``, or of
            shape ``[C]`` for one λ a channel (dimension 1 of the input). None starts unset.
        per_channel: Learn one λ for each channel.
        ceiling: Upper bound of the activation that this one replaces (6 for ReLU6), applied while
            λ is unset.
        signed: Clip between −λ and λ.

    Shape:
        Input and output ``[B, C, ...]`` with per-channel λ, else any shape.

    Raises:
        ConfigError: levels < 1, λ not positive and finite, λ of more than one dimension, or a
            signed clip with a ceiling.
        InputError: The batch that sets λ holds NaN or infinity, or has no channel for each λ.

    Source: ECL eq. 2 (arXiv 2506.01968).

    Example:
        >>> clip = ThresholdClip(levels=4, threshold=1.0)
        >>> clip(torch.tensor([-1.0, 0.3, 0.375, 2.0])).tolist()
        [0.0, 0.25, 0.5, 1.0]
        >>> clip.threshold
        tensor(1., grad_fn=<AddBackward0>)
    """

    raw_threshold: nn.Parameter

    def __init__(
        self,
        levels: int | None = 4,
        threshold: float | Tensor | None = None,
        *,
        per_channel: bool = False,
        ceiling: float | None = None,
        signed: bool = False,
    ) -> None:
        super().__init__()
        check_levels(levels)
        if ceiling is not None and not (ceiling > 0 and math.isfinite(ceiling)):
            raise ConfigError(f"ceiling must be finite and > 0, or None; got {ceiling!r}")
        if signed and ceiling is not None:
            raise ConfigError("a signed clip has no ceiling: it replaces no rectifier")
        self.levels, self._per_channel = levels, per_channel
        self.ceiling, self.signed = ceiling, signed
        # NaN means "unset": no extra key in the state_dict, and an output that would show it.
        self.raw_threshold = nn.Parameter(torch.tensor(math.nan))
        # What `raw_threshold` said when it was last read; one λ for all channels was given.
        self._seen_set = self._one_given = False
        # A compiled graph is made anew for each value that it reads: it reads no count.
        self._follows, self._batches_left = False, 0
        self._breaks_graphs = False  # λ was set amid compiled code, which can be left again
        self.qualified_name = ""  # for errors; prepare() sets it
        if threshold is not None:
            self.threshold = threshold

    @property
    def per_channel(self) -> bool:
        """Whether λ is learned for each channel; it can be chosen while λ is unset."""
        return self._per_channel

    @per_channel.setter
    def per_channel(self, value: bool) -> None:
        if self.is_set and value != (self.raw_threshold.ndim == 1):
            raise contradicts(self.qualified_name, value, self.raw_threshold)
        self._per_channel = value

    @property
    def is_set(self) -> bool:
        """Whether λ is set: ``raw_threshold`` holds no NaN, wherever its values came from."""
        raw = self.raw_threshold.detach()
        # A number is read five times faster than `any()` runs.
        unset = math.isnan(raw.item()) if raw.numel() == 1 else bool(raw.isnan().any())
        if not (unset or self._seen_set or raw.ndim) and self._per_channel and not self._one_given:
            raise single_over_unset(self.qualified_name)
        self._seen_set = not unset
        return self._seen_set

    @property
    def threshold(self) -> Tensor:
        """The current λ > 0, shape ``[]`` or ``[C]``; assign a number or tensor to set it."""
        if not self.is_set:
            raise ThresholdUnsetError(
                f"{at(self.qualified_name)}this ThresholdClip has no threshold yet: run a batch in "
                "training mode, or assign one (`clip.threshold = 1.0`)"
            )
        return F.positive(self.raw_threshold)

    @threshold.setter
    def threshold(self, value: float | Tensor) -> None:
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            if not value.is_floating_point():
                value = value.float()
        name = f"{at(self.qualified_name)}threshold"
        checked = check_threshold(
            value, like=torch.empty((), dtype=torch.float64), name=name, shape=False
        )
        if bool((checked < SMALLEST_THRESHOLD).any()):
            raise ConfigError(
                f"{name} must be >= {SMALLEST_THRESHOLD:g}; got {float(checked.min()):g}"
            )
        if checked.ndim > 1:
            raise ConfigError(f"{name} must have shape [] or [C]; got shape {list(checked.shape)}")
        # Keep the Parameter object, whatever its new shape: optimisers refer to it.
        self.raw_threshold.data = checked.to(
            self.raw_threshold.device, self.raw_threshold.dtype, copy=True
        )
        self._per_channel = self._per_channel or checked.ndim == 1
        self._seen_set, self._one_given = True, checked.ndim == 0
        self._follow_for(0)

    def unset(self) -> None:
        """Unset λ: the layer is a plain ReLU again until λ is set."""
        self.raw_threshold.data = self.raw_threshold.new_tensor(math.nan)
        self._seen_set = self._one_given = False
        self._follow_for(0)

    def forward(self, x: Tensor) -> Tensor:
        """Apply h to pre-activations ``[B, C, ...]``."""
        known = self._known_set()
        compiling = torch.compiler.is_dynamo_compiling()
        if self.training and (known is False or (known is None and compiling)):
            self._start_from(x, compiling)
            known = self._seen_set
        elif self.training and self._follows and (self._breaks_graphs or not compiling):
            self._follow(x)
        if known is False:
            return self._unclipped(x)
        threshold = over_channels(F.positive(self.raw_threshold), x, self.qualified_name)
        if known is None:
            clipped = clip_unchecked(x, threshold, self.levels, self.signed)
            return torch.where(threshold.isnan(), self._unclipped(x), clipped)
        if compiling and torch.is_grad_enabled() and self.training:
            # The compiler may compute the output again in the backward pass: λ's gradient needs
            # the input saved, and the next layer would have the output saved as well.
            settings = (threshold, self.levels, self.signed)
            return checkpoint(clip_unchecked, x, *settings, use_reentrant=False)
        if can_be_read(threshold):
            return F.threshold_clip(x, threshold, self.levels, signed=self.signed)
        return clip_unchecked(x, threshold, self.levels, self.signed)

    def _known_set(self) -> bool | None:
        """Whether λ is set; None where its value cannot be read, and the graph must ask."""
        raw = self.raw_threshold
        # An accelerator is not stalled to see again that λ is set.
        if can_be_read(raw) and not (self._seen_set and raw.device.type != "cpu"):
            return self.is_set
        return self._seen_set or None

    def _unclipped(self, x: Tensor) -> Tensor:
        if self.signed:
            return x
        return x.relu() if self.ceiling is None else x.clamp(0, self.ceiling)

    def _magnitudes(self, x: Tensor) -> Tensor:
        """What λ is chosen from: the sizes of unclipped activations."""
        unclipped = self._unclipped(x).float()
        return unclipped.abs() if self.signed else unclipped

    @outside_graphs
    @torch.no_grad()
    def _start_from(self, x: Tensor, compiled: bool = False) -> None:
        """Set λ from a batch; without any positive activation it stays unset."""
        if self.is_set or not x.numel():
            return
        if inside_ddp() and world_size() > 1:
            raise StateError(
                f"{at(self.qualified_name)}its threshold is unset inside DistributedDataParallel: "
                "each process would start it from a batch of its own. Run one batch through the "
                "prepared network in training mode before you wrap it"
            )
        activations = self._magnitudes(x.detach())
        chosen = starting_threshold(activations, self._per_channel, at(self.qualified_name))
        if chosen is None:
            return
        self.threshold = chosen
        self._follow_for(_BATCHES_TO_FOLLOW)
        self._breaks_graphs = compiled

    def _follow_for(self, batches: int) -> None:
        """Let λ follow the activations of so many more training batches."""
        self._follows, self._batches_left = batches > 0, batches

    @property
    def follows(self) -> bool:
        """Whether λ still follows the activations of training batches."""
        return self._follows

    @outside_graphs
    def _follow(self, x: Tensor) -> None:
        """Raise λ where a batch is clipped too much; reads no value from an accelerator."""
        raw = self.raw_threshold
        # Without gradients nothing learns; what is no leaf is another's, such as a replica's.
        if not (torch.is_grad_enabled() and raw.is_leaf and can_be_read(raw) and can_be_read(x)):
            return
        self._follow_for(self._batches_left - 1)
        threshold = F.positive(raw.detach())
        aim = raised_threshold(self._magnitudes, x.detach(), threshold)
        if inside_ddp() and world_size() > 1:
            aim = largest(aim)
        raw.data.copy_(torch.where(aim > threshold, aim, raw))

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._follows:
            destination[prefix + "batches_left"] = torch.tensor(self._batches_left)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        key = prefix + "raw_threshold"
        if key in state_dict:
            value = state_dict[key]
            if value.shape != self.raw_threshold.shape and value.ndim <= 1:
                self.raw_threshold.data = self.raw_threshold.new_empty(value.shape)
            self._seen_set = False  # read again
            self._follow_for(int(state_dict.pop(prefix + "batches_left", 0)))
            self._per_channel = self._per_channel or value.ndim == 1
            self._one_given = value.ndim == 0 and not bool(value.isnan())
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """Levels and λ, for ``print(model)``."""
        raw = F.positive(self.raw_threshold.detach())
        threshold, per_channel = as_text(raw) if self.is_set else "unset", self.per_channel
        if self.is_set:
            per_channel = raw.ndim == 1
        signed = ", signed=True" if self.signed else ""
        return f"levels={self.levels}, threshold={threshold}, per_channel={per_channel}{signed}"


def settled(network: nn.Module) -> bool:
    """Whether all thresholds are set and none follows activations: what compiled code needs."""
    return all(clip.is_set and not clip.follows for clip in clips_of(network).values())


def clips_of(network: nn.Module) -> dict[str, ThresholdClip]:
    """The clips of a network by name, in the order of its modules."""
    return {name: m for name, m in network.named_modules() if isinstance(m, ThresholdClip)}
