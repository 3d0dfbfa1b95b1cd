"""Replace rectifiers by :class:`~snntorch_ecl.nn.ThresholdClip`."""

from __future__ import annotations

from torch import nn
from torch.fx import GraphModule

from .._util.devices import device_of
from ..nn._threshold_clip import ThresholdClip
from ._names import unique_name
from ._values import activations


def clip_for(module: nn.Module, *, levels: int | None, per_channel: bool) -> ThresholdClip | None:
    """The clip that replaces a rectifier; None if the module is not one.

    Exact types only: a subclassed ReLU need not be a ReLU.
    """
    if type(module) is nn.ReLU:
        return ThresholdClip(levels, per_channel=per_channel)
    if type(module) is nn.ReLU6:
        return ThresholdClip(levels, per_channel=per_channel, ceiling=6.0)
    if type(module) is nn.Hardtanh and module.min_val == 0:
        return ThresholdClip(levels, per_channel=per_channel, ceiling=float(module.max_val))
    if type(module) is nn.Threshold and module.threshold == module.value == 0:
        return ThresholdClip(levels, per_channel=per_channel)
    return None


def rectifiers_to_clips(gm: GraphModule, *, levels: int | None, per_channel: bool) -> GraphModule:
    """Give every call of a rectifier, or of an existing clip, a separate clip.

    A rectifier that reads only parameters stays: its output does not depend on the input.
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
            # At a rectifier's second call, the module is the clip that its first call got.
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
    return gm


def _twin(clip: ThresholdClip) -> ThresholdClip:
    """A clip with the same settings and threshold."""
    kept = {name: getattr(clip, name) for name in ("per_channel", "ceiling", "signed")}
    twin = ThresholdClip(clip.levels, **kept)
    if clip.is_set:
        twin.threshold = clip.threshold
    return twin
