"""``prepare``: a learnable threshold in place of every ReLU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import snntorch
from torch import nn
from torch.fx import GraphModule

from .._util.levels import Levels, check_levels_by_name, levels_by_name
from .._util.torch_internals import uncompiled
from ..errors import (
    ConfigError,
    UnsupportedError,
)
from ..graph._attention import expand_attention
from ..graph._example import example_in, example_of
from ..graph._functionalise import functionalise
from ..graph._insert_checks import insert_checks
from ..graph._leaky import expand_leaky
from ..graph._operands import clip_operands
from ..graph._outputs import dataclasses_to_dicts
from ..graph._rectifiers import rectifiers_to_clips
from ..graph._refusals import refuse, unsupported
from ..graph._registry import Handlers, leaf_types
from ..graph._to_modules import functional_to_module
from ..graph._trace import trace
from ..graph._wrappers import inside
from ..network._compile import as_prepared
from ..network._network import SpikingNetwork
from ..nn._threshold_clip import ThresholdClip, clips_of


class _Default(int):
    """A default that can be told from the same number given by the caller."""


_LEVELS = _Default(4)


def prepare(
    model: nn.Module,
    *,
    levels: Levels = _LEVELS,
    per_channel: bool = False,
    signed: bool = False,
    leaf_modules: Iterable[type[nn.Module]] = (),
    handlers: Handlers | None = None,
    example: Any = None,
) -> nn.Module:
    """Give every ReLU of a network, functional or not, a learnable ``ThresholdClip`` of its own.

    The result computes the same as ``model`` until its thresholds are set: train it (the first
    batch in training mode sets them), or assign them. Code that depends on ``self.training`` is
    recorded for the model's current mode.

    Args:
        model: A network with ReLU, ReLU6 or Hardtanh(0, a), as modules or as functions, however
            they are spelled (``x.clip(0)``, ``torch.maximum(x, zero)``). LeakyReLU and PReLU
            become two rectifiers. It is copied, not changed.
        levels: L of every clip; None clips without quantising. Clips that ``model`` already has
            keep theirs unless you give this; they keep their thresholds in any case. Or a mapping
            of layers to their L, such as ``{"stem.2": 8, "stage1.*": 6, "*": 4}``: keys are names
            that the clips have in the result, or patterns of ``fnmatch`` (whose ``*`` also
            matches dots). A name wins over a pattern, and ``"*"`` is for the rest; without it, the
            rest has what it would have without ``levels``.
        per_channel: One threshold for each channel, instead of one for each layer.
        signed: Also give a clip to every value that a convolution, a linear layer or a matrix
            product reads, where it comes from another such layer, a norm, a softmax or a smooth
            activation: spikes then drive all of them, as in transformers. The clips are signed
            where values can be negative. ReLU networks hardly change: only what no rectifier
            separates gets one.
        leaf_modules: Your own types that tracing must not look into; they need a handler.
        handlers: As for :func:`convert`; what ``convert`` would refuse is refused here, before
            any training.
        example: Inputs ``[B, ...]`` as the network takes them: a tensor, a tuple of tensors, or a
            dict of tensors by the names of ``forward``'s arguments; only their shapes and dtypes
            are read. With it, code may ask for sizes (``h, w = x.shape[2:]``, ``if``, ``len``,
            ``range``), and move the batch to another dimension and back. Where the code has read
            sizes, the result takes inputs of these sizes only. The inputs are those given here.

    Returns:
        A trainable ``torch.fx.GraphModule`` with the same parameter names; reach a layer with
        ``get_submodule("stage1.2")``, as graph modules cannot be indexed.

    Raises:
        ConfigError: levels < 1; or a key of ``levels`` matches no layer, or two that match one
            disagree; or ``per_channel``, and a clip already has one for its layer; or the example
            does not fit ``forward``.
        TraceError: The network's control flow depends on its data.
        UnsupportedError: Layers or operations that have no spiking counterpart; lists them all.

    Example:
        >>> ann = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> prepare(ann, levels=8).get_submodule("1")
        ThresholdClip(levels=8, threshold=unset, per_channel=False)
        >>> deeper = nn.Sequential(ann, nn.ReLU(), nn.Linear(2, 2))
        >>> prepare(deeper, levels={"1": 2, "*": 8}).get_submodule("1").levels
        2
    """
    check_levels_by_name(levels)
    gm = normalise(model, leaf_modules, handlers, training=None, example=example)
    number = None if levels is None else int(_LEVELS if isinstance(levels, Mapping) else levels)
    if signed:
        gm = clip_operands(expand_attention(gm), levels=number, per_channel=per_channel)
    found = unsupported(gm, handlers, rectifiers_too=False)
    refuse(found, has_example=example_in(gm) is not None)
    for name, clip in clips_of(gm).items():
        if levels is not _LEVELS and not isinstance(levels, Mapping):
            clip.levels = levels
        if per_channel:
            _make_per_channel(clip, name)
    gm = rectifiers_to_clips(gm, levels=number, per_channel=per_channel)
    if not any(isinstance(module, ThresholdClip) for module in gm.modules()):
        raise UnsupportedError(
            [f"{type(model).__name__}: it has no ReLU, ReLU6, Hardtanh(0, a) or ThresholdClip"],
            "Nothing in it would spike. Use ReLU activations; or prepare(model, signed=True), on "
            "the command line --signed, which puts signed clips where linear maps and matrix "
            "products read.",
        )
    if isinstance(levels, Mapping):
        _set_levels(gm, levels)
    gm.graph.lint()
    return as_prepared(gm)  # a new module, whose code is of the graph as it is now


def _set_levels(gm: GraphModule, levels: Mapping[str, int | None]) -> None:
    clips = clips_of(gm)
    chosen = levels_by_name(levels, clips, {name: clip.levels for name, clip in clips.items()})
    for name, clip in clips.items():
        clip.levels = chosen[name]


def _make_per_channel(clip: ThresholdClip, name: str) -> None:
    if clip.is_set and clip.threshold.ndim == 0:
        raise ConfigError(
            f"per_channel=True, but {name} has one threshold for its layer already: give it one a "
            "channel (`clip.threshold = tensor of shape [C]`), or call clip.unset() and train again"
        )
    clip.per_channel = True


def normalise(
    model: nn.Module,
    leaf_modules: Iterable[type[nn.Module]],
    handlers: Handlers | None,
    *,
    training: bool | None,
    example: Any = None,
) -> GraphModule:
    """A copy of a network as a graph of modules, without in-place operations."""
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model must be an nn.Module; got {type(model).__name__}")
    if isinstance(uncompiled(model), SpikingNetwork):
        raise ConfigError("model is a SpikingNetwork already; give the ANN it was converted from")
    leaf_modules = tuple(leaf_modules)
    for leaf in leaf_modules:
        if not (isinstance(leaf, type) and issubclass(leaf, nn.Module)):
            raise ConfigError(f"leaf_modules= takes nn.Module types; got {leaf!r}")
    own = (ThresholdClip, snntorch.SpikingNeuron, *leaf_types())
    leaves = (*own, *leaf_modules, *(handlers or {}))
    gm = trace(model, leaves, training=training, example=example_of(inside(model), example))
    gm = functionalise(dataclasses_to_dicts(gm))
    gm.graph.eliminate_dead_code()  # an unused clip would never get a threshold
    return insert_checks(expand_leaky(functional_to_module(gm)), handlers or {})
