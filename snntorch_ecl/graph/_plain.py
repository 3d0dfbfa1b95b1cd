"""Replace layers that hide what they compute by plain ones, before tracing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ..nn._attention import Attention, DropRows, Encoder, EncoderLayer

_PLAIN: dict[str, Callable[[Any], nn.Module]] = {
    "torch.nn.modules.activation.MultiheadAttention": Attention,
    "torch.nn.modules.transformer.TransformerEncoderLayer": EncoderLayer,
    "torch.nn.modules.transformer.TransformerEncoder": Encoder,
    # Found by name: these packages need not be there.
    "torchvision.ops.stochastic_depth.StochasticDepth": lambda m: DropRows(m.p),
    "timm.layers.drop.DropPath": lambda m: DropRows(m.drop_prob or 0.0, m.scale_by_keep),
}


def plain_layers(root: nn.Module, known: tuple[type[nn.Module], ...]) -> nn.Module:
    """Replace them in a network, inner ones first; types that are ``known`` are left alone."""
    made: dict[nn.Module, nn.Module] = {}
    for name, module in reversed(list(root.named_modules(remove_duplicate=False))):
        maker = _PLAIN.get(f"{type(module).__module__}.{type(module).__qualname__}")
        if maker is None or type(module) in known:
            continue
        if module not in made:
            made[module] = maker(module).train(module.training)
        if not name:
            return made[module]
        root.set_submodule(name, made[module])
    return root
