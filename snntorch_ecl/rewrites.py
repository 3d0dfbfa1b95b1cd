"""From functional calls to modules, and from rectifiers to :class:`ThresholdClip`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.fx import GraphModule, Node

from .activation import ThresholdClip
from .graph import unique_name
from .operations import activations
from .processes import device_of

__all__ = ["BUILDERS", "clip_for", "rectifiers_to_clips"]

Builder = Callable[[dict[str, Any], bool], "nn.Module | None"]


def _relu(a: dict[str, Any], training: bool) -> nn.Module:
    return nn.ReLU()


def _clamp(low: str, high: str, high_default: float | None) -> Builder:
    def build(a: dict[str, Any], training: bool) -> nn.Module | None:
        bottom, top = a.get(low), a.get(high, high_default)
        if isinstance(bottom, Node) or isinstance(top, Node) or bottom != 0:
            return None
        if top is None:
            return nn.ReLU()
        return nn.Hardtanh(0, top) if top > 0 else None

    return build


def _max_pool(kind: type[nn.Module]) -> Builder:
    def build(a: dict[str, Any], training: bool) -> nn.Module | None:
        settings = {key: value for key, value in a.items() if key != "input"}
        if settings.get("return_indices") or any(isinstance(v, Node) for v in settings.values()):
            return None
        return kind(**settings)

    return build


def _dropout(kind: type[nn.Module]) -> Builder:
    def build(a: dict[str, Any], training: bool) -> nn.Module | None:
        # Traced in eval mode, `training=self.training` is False; one that is True drops always,
        # which no layer does: leave it.
        always = a.get("training", True) and not training
        return None if always else kind(a.get("p", 0.5))

    return build


BUILDERS: dict[Any, Builder] = {
    **dict.fromkeys((F.relu, torch.relu, "relu"), _relu),
    F.relu6: lambda a, training: nn.ReLU6(),
    F.hardtanh: _clamp("min_val", "max_val", 1.0),
    **dict.fromkeys((torch.clamp, "clamp"), _clamp("min", "max", None)),
    **dict.fromkeys((torch.clamp_min, "clamp_min"), _clamp("min", "max", None)),
    **dict.fromkeys((F.max_pool1d, torch.max_pool1d), _max_pool(nn.MaxPool1d)),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), _max_pool(nn.MaxPool2d)),
    **dict.fromkeys((F.max_pool3d, torch.max_pool3d), _max_pool(nn.MaxPool3d)),
    F.adaptive_max_pool1d: _max_pool(nn.AdaptiveMaxPool1d),
    F.adaptive_max_pool2d: _max_pool(nn.AdaptiveMaxPool2d),
    F.adaptive_max_pool3d: _max_pool(nn.AdaptiveMaxPool3d),
    F.dropout: _dropout(nn.Dropout),
    F.dropout1d: _dropout(nn.Dropout1d),
    F.dropout2d: _dropout(nn.Dropout2d),
    F.dropout3d: _dropout(nn.Dropout3d),
}
"""How :func:`~snntorch_ecl.graph.functional_to_module` builds a module from a call's arguments."""


def clip_for(module: nn.Module, *, levels: int | None, per_channel: bool) -> ThresholdClip | None:
    """The clip that takes a rectifier's place; None if the module is no rectifier.

    Exact types only: a subclassed ReLU need not be a ReLU.
    """
    if type(module) is nn.ReLU:
        return ThresholdClip(levels, per_channel=per_channel)
    if type(module) is nn.ReLU6:
        return ThresholdClip(levels, per_channel=per_channel, ceiling=6.0)
    if type(module) is nn.Hardtanh and module.min_val == 0:
        return ThresholdClip(levels, per_channel=per_channel, ceiling=float(module.max_val))
    return None


def rectifiers_to_clips(gm: GraphModule, *, levels: int | None, per_channel: bool) -> GraphModule:
    """Give every call of a rectifier, or of a clip that is there already, a clip of its own.

    One that rectifies parameters alone stays: what it gives does not depend on the input.
    """
    live, device = activations(gm), device_of(gm)
    calls = [node for node in gm.graph.nodes if node.op == "call_module"]
    placed = {str(node.target) for node in calls if node not in live}
    for node in calls:
        if node not in live:
            continue
        name = str(node.target)
        module = gm.get_submodule(name)
        if isinstance(module, ThresholdClip):
            # At a second call of one rectifier, this is the clip that its first call was given.
            clip = _twin(module) if name in placed else module
        else:
            made = clip_for(module, levels=levels, per_channel=per_channel)
            if made is None:
                continue
            clip = made.to(device)
        clip.train(module.training)
        node.target = name if name not in placed else unique_name(gm, name)
        placed.add(node.target)
        clip.qualified_name = node.target
        gm.add_submodule(node.target, clip)
    gm.graph.lint()
    gm.recompile()
    return gm


def _twin(clip: ThresholdClip) -> ThresholdClip:
    twin = ThresholdClip(clip.levels, per_channel=clip.per_channel, ceiling=clip.ceiling)
    if clip.is_set:
        twin.threshold = clip.threshold
    return twin
