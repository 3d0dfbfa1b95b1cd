"""Networks for the demo, the tutorials and the experiments, and some that ship trained.

The architectures are plain ReLU and know nothing of this package. :func:`load_pretrained` loads
those that ship, prepared and trained; :func:`load_pretrained_snn` spiking networks that were
fine-tuned from them.
"""

from ._build import build
from ._checkpoint import Checkpoint, load_ann, save_ann
from ._digit_net import DigitNet
from ._pretrained import (
    PretrainedSNN,
    load_pretrained,
    load_pretrained_snn,
    pretrained_names,
    pretrained_snn_names,
)
from ._resnet import ResNet, resnet18, resnet20, resnet34
from ._vgg import VGG16, vgg16
from ._vit import ConvViT, ViT

__all__ = [
    "VGG16",
    "Checkpoint",
    "ConvViT",
    "DigitNet",
    "PretrainedSNN",
    "ResNet",
    "ViT",
    "build",
    "load_ann",
    "load_pretrained",
    "load_pretrained_snn",
    "pretrained_names",
    "pretrained_snn_names",
    "resnet18",
    "resnet20",
    "resnet34",
    "save_ann",
    "vgg16",
]
