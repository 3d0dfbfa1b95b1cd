"""Networks for the demo, the tutorials and the experiments: plain ReLU, nothing of this package.

:func:`load_pretrained` loads those that the package ships, prepared and trained;
:func:`load_pretrained_snn` spiking networks that were fine-tuned from them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import nn

from ..errors import ConfigError
from .digit_net import DigitNet
from .resnet import ResNet, resnet18, resnet20, resnet34
from .vgg import VGG16, vgg16

if TYPE_CHECKING:
    from ..checkpoint import Checkpoint
    from ..spiking_zoo import PretrainedSNN

__all__ = [
    "VGG16",
    "DigitNet",
    "ResNet",
    "build",
    "load_pretrained",
    "load_pretrained_snn",
    "resnet18",
    "resnet20",
    "resnet34",
    "vgg16",
]

_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "digit_net": DigitNet,
    "resnet18": resnet18,
    "resnet20": resnet20,
    "resnet34": resnet34,
    "vgg16": vgg16,
}
_TORCHVISION = "torchvision/"


def build(name: str, *, classes: int) -> nn.Module:
    """Build a network by name, with fresh weights.

    Args:
        name: ``digit_net``, ``resnet18``, ``resnet20``, ``resnet34`` or ``vgg16`` for small
            images; ``torchvision/NAME`` for any classification network of torchvision.
        classes: Number of classes.

    Returns:
        A network with ReLU activations, in training mode.

    Raises:
        ConfigError: There is no network of that name.

    Example:
        >>> type(build("resnet20", classes=10)).__name__
        'ResNet'
    """
    if name.startswith(_TORCHVISION):
        from torchvision import models as torchvision_models

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


def load_pretrained(name: str) -> Checkpoint:
    """Load a network that the package ships; see :func:`snntorch_ecl.zoo.load_pretrained`.

    Args:
        name: Such as ``resnet20-cifar10-l4``.

    Returns:
        The prepared ANN in eval mode, its experiment, classes and figures.

    Raises:
        ConfigError: There is no such network; lists those there are.

    Example:
        >>> load_pretrained("resnet20-cifar10-l4").figures["levels"]
        4
    """
    # Here, not at the top: the architectures know nothing of what is built on them.
    from ..zoo import load_pretrained as load

    return load(name)


def load_pretrained_snn(name: str) -> PretrainedSNN:
    """Load a fine-tuned spiking network; see :func:`snntorch_ecl.spiking_zoo.load_pretrained_snn`.

    Args:
        name: Such as ``digitnet-digits-l4-t2``: that of its ANN, and the T it was tuned at.

    Returns:
        The spiking network in eval mode, its ANN and its figures.

    Raises:
        ConfigError: There is no such network; lists those there are.

    Example:
        >>> load_pretrained_snn("digitnet-digits-l4-t2").figures["num_steps"]
        2
    """
    from ..spiking_zoo import load_pretrained_snn as load

    return load(name)
