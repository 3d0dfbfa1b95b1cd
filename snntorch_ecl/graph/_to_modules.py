"""Replace functional calls by modules: ``F.relu(x)`` becomes an ``nn.ReLU``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.fx import GraphModule, Node

from ._names import function_name, owner, unique_name
from ._spellings import maxima_to_amax, rectified
from ._values import activations

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


def _threshold(a: dict[str, Any], training: bool) -> nn.Module | None:
    return nn.ReLU() if a.get("threshold") == a.get("value") == 0 else None


def _leaky(a: dict[str, Any], training: bool) -> nn.Module:
    return nn.LeakyReLU(a.get("negative_slope", 0.01))


def _dropout(kind: type[nn.Module]) -> Builder:
    def build(a: dict[str, Any], training: bool) -> nn.Module | None:
        # Traced in eval mode, `training=self.training` is False. If it is True all the same, the
        # call drops values in eval mode too, which no layer does: leave it.
        always = a.get("training", True) and not training
        return None if always else kind(a.get("p", 0.5))

    return build


_BUILDERS: dict[Any, Builder] = {
    **dict.fromkeys((F.relu, torch.relu, "relu"), _relu),
    F.relu6: lambda a, training: nn.ReLU6(),
    F.hardtanh: _clamp("min_val", "max_val", 1.0),
    **dict.fromkeys((torch.clamp, "clamp"), _clamp("min", "max", None)),
    **dict.fromkeys((torch.clip, "clip"), _clamp("min", "max", None)),
    **dict.fromkeys((F.threshold, torch.threshold), _threshold),
    F.leaky_relu: _leaky,
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
    F.alpha_dropout: _dropout(nn.AlphaDropout),
    F.feature_alpha_dropout: _dropout(nn.FeatureAlphaDropout),
}
# A builder makes the module from a call's arguments, by name, and the mode of the tracing. If it
# returns None, the call stays.

_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "hardtanh": ("min_val", "max_val", "inplace"),
    "clamp": ("min", "max"),
    "clip": ("min", "max"),
    "clamp_min": ("min",),
    **dict.fromkeys(("threshold", "_threshold"), ("threshold", "value", "inplace")),
    "leaky_relu": ("negative_slope", "inplace"),
    **{f"dropout{d}": ("p", "training", "inplace") for d in ("", "1d", "2d", "3d")},
    **dict.fromkeys(("alpha_dropout", "feature_alpha_dropout"), ("p", "training", "inplace")),
    **{f"max_pool{d}d": _POOL for d in (1, 2, 3)},
    **{f"adaptive_max_pool{d}d": ("output_size", "return_indices") for d in (1, 2, 3)},
}


def _arguments(node: Node) -> dict[str, Any]:
    """The arguments of a functional call by name, passed by position or by name."""
    names = ("input", *_PARAMETERS.get(function_name(node), ()))
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def functional_to_module(gm: GraphModule) -> GraphModule:
    """Replace every functional activation, pooling or dropout by a module named after its place."""
    maxima_to_amax(gm)
    live = activations(gm)  # calls that read only parameters stay
    for node in list(gm.graph.nodes):
        known = node in live and node.op in ("call_function", "call_method")
        builder = _BUILDERS.get(node.target) if known else None
        source = rectified(gm, node) if known else None
        if source is not None:
            module: nn.Module | None = nn.ReLU()
        else:
            source = _arguments(node).get("input") if builder is not None else None
            module = builder(_arguments(node), gm.training) if builder is not None else None
        if module is None:
            continue
        module.train(gm.training)
        kind = type(module).__name__.lower()
        name = unique_name(gm, f"{owner(node)}.{kind}".lstrip("."))
        gm.add_submodule(name, module)
        with gm.graph.inserting_before(node):
            call = gm.graph.call_module(name, (source,))
        call.meta = dict(node.meta)
        node.replace_all_uses_with(call)
        gm.graph.erase_node(node)
    gm.graph.eliminate_dead_code()  # comparisons that a rectifier was made of
    return gm
