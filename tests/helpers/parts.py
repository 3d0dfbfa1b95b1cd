"""Parts to build small networks from, and what tests read off any network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import snntorch_ecl as ecl
from snntorch_ecl.nn._temporal import Temporal


def randomise(norm: nn.Module) -> None:
    """Statistics and affine parameters that a wrong folding cannot survive."""
    for tensor, low, high in (
        (norm.running_mean, -0.5, 0.5),
        (norm.running_var, 0.3, 1.5),
        (norm.weight, 0.5, 1.5),
        (norm.bias, -0.5, 0.5),
    ):
        if tensor is not None:
            tensor.data.uniform_(low, high)


def set_thresholds(ann: nn.Module, *inputs: Tensor, factor: float = 1.0) -> None:
    """Set each clip's λ to ``factor`` times the largest activation, at most its ceiling."""
    with torch.no_grad():
        peaks: dict[ecl.ThresholdClip, float] = {}
        hooks = [
            clip.register_forward_hook(lambda m, _, out: peaks.update({m: float(out.max())}))
            for clip in clips_of(ann).values()
        ]
        ann.eval()(*inputs)
        for hook in hooks:
            hook.remove()
        for clip, peak in peaks.items():
            clip.threshold = min(factor * max(peak, 1e-3), clip.ceiling or float("inf"))


def clips_of(ann: nn.Module) -> dict[str, ecl.ThresholdClip]:
    return {n: m for n, m in ann.named_modules() if isinstance(m, ecl.ThresholdClip)}


def norms_of(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def equal(a: Any, b: Any) -> bool:
    """Bitwise, whatever the outputs are made of."""
    pairs = zip(tree_leaves(a), tree_leaves(b), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def close(a: Any, b: Any, tolerance: float = 1e-4) -> bool:
    pairs = zip(tree_leaves(a), tree_leaves(b), strict=True)
    return all(torch.allclose(x, y, rtol=tolerance, atol=tolerance) for x, y in pairs)


def wired(forward: Callable[..., Any], **modules: nn.Module | nn.Parameter) -> nn.Module:
    """A network from its forward function and its parts."""
    net = type("Wired", (nn.Module,), {"forward": forward})()
    for name, module in modules.items():
        setattr(net, name, module)
    return net


def conv(inputs: int = 2, outputs: int = 4, **settings: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, **settings)


def head(channels: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3))


def recorded(snn: ecl.SpikingNetwork, call: Callable[[], Any]) -> tuple[Any, dict[str, Tensor]]:
    """What a call returns, and what every layer with state emitted, step after step."""
    seen: dict[str, list[Tensor]] = {}
    hooks = [
        module.register_forward_hook(
            lambda m, _, out, name=name: seen.setdefault(name, []).append(out)
        )
        for name, module in snn.named_modules()
        if isinstance(module, Temporal)
    ]
    result = call()
    for hook in hooks:
        hook.remove()
    return result, {name: torch.cat(outs) for name, outs in seen.items()}


def on_grid(tensor: Tensor, steps: int) -> Tensor:
    """Rounded to multiples of 1/steps, so that sums of products are exact in any order."""
    return (tensor.detach() * steps).round() / steps


def outputs(model: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """What a model gives for copies of some inputs."""
    return model(*[x.clone() for x in inputs])


def uniform(*shape: int, low: float = -1.0, high: float = 3.0, seed: int = 0) -> Tensor:
    """Equal numbers for equal seeds."""
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, generator=generator)
