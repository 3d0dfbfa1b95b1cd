"""VGG-16 for 32 × 32 images, with average pooling, as the conversion literature trains it."""

from __future__ import annotations

from torch import Tensor, nn

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(nn.Module):
    """Thirteen 3×3 convolutions with batch norm in five stages, three linear layers.

    Args:
        classes: Number of classes.
        hidden: Width of the two hidden linear layers.

    Shape:
        Input ``[B, 3, 32, 32]`` (or any larger size), output logits ``[B, classes]``.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition", ICLR 2015, configuration D; average pooling in place of maximum pooling.

    Example:
        >>> import torch
        >>> VGG16(classes=10, hidden=64).eval()(torch.rand(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """

    def __init__(self, *, classes: int, hidden: int = 4096) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage in _STAGES:
            for outputs in stage:
                layers += [
                    nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(inplace=True),
                ]
                channels = outputs
            layers.append(nn.AvgPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        out: Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return out


vgg16 = VGG16
