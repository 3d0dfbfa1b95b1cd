"""Networks by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from .._util.optional import require
from ..errors import ConfigError
from ._digit_net import DigitNet
from ._resnet import resnet18, resnet20, resnet34
from ._vgg import vgg16
from ._vit import ConvViT, ViT

_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "conv_vit": ConvViT,
    "digit_net": DigitNet,
    "resnet18": resnet18,
    "resnet20": resnet20,
    "resnet34": resnet34,
    "vgg16": vgg16,
    "vit": ViT,
}
_TORCHVISION = "torchvision/"


def build(name: str, *, classes: int) -> nn.Module:
    """Build a network by name, with fresh weights.

    Args:
        name: ``conv_vit``, ``digit_net``, ``resnet18``, ``resnet20``, ``resnet34``, ``vgg16`` or
            ``vit`` for small images; ``torchvision/NAME`` for any classification network of
            torchvision.
        classes: Number of classes.

    Returns:
        A network in training mode; ``vit`` has no ReLU, and both transformers need signed clips.

    Raises:
        ConfigError: There is no network of that name.

    Example:
        >>> from snntorch_ecl.models import build
        >>> type(build("resnet20", classes=10)).__name__
        'ResNet'
    """
    if name.startswith(_TORCHVISION):
        torchvision_models = require("torchvision.models", extra="demo")
        wanted = name.removeprefix(_TORCHVISION)
        if wanted in torchvision_models.list_models(torchvision_models):
            built: nn.Module = torchvision_models.get_model(wanted, num_classes=classes)
            return built
    elif name in _BUILDERS:
        return _BUILDERS[name](classes=classes)
    known = ", ".join(_BUILDERS)
    raise ConfigError(
        f"there is no network {name!r}; choose one of {known}, or {_TORCHVISION}NAME for one of "
        "torchvision's classification networks"
    )
