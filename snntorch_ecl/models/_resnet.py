"""Residual networks for 32 × 32 images, in the form that the conversion literature trains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn


class _Block(nn.Module):
    """Two 3×3 convolutions and a shortcut, projected where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        rectified: Tensor = self.relu2(out + self.shortcut(x))
        return rectified


class ResNet(nn.Module):
    """A residual network with a 3×3 stem, no max-pooling, and average pooling at the end.

    Args:
        blocks: Number of blocks of each stage; every stage after the first halves the image size.
        width: Channels of the first stage; every later stage doubles them.
        classes: Number of classes.

    Shape:
        Input ``[B, 3, 32, 32]`` (or any larger size), output logits ``[B, classes]``.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2
    (ResNet-20) and the wider stages of section 4.1 (ResNet-18, -34).

    Example:
        >>> import torch
        >>> ResNet((1, 1), width=8, classes=10)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, blocks: Sequence[int], *, width: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        stages: list[nn.Module] = []
        channels = width
        for index, count in enumerate(blocks):
            outputs = width * 2**index
            stage = []
            for number in range(count):
                stride = 2 if index > 0 and number == 0 else 1
                stage.append(_Block(channels, outputs, stride))
                channels = outputs
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        x = self.stages(self.relu(self.bn(self.conv(x))))
        out: Tensor = self.fc(self.pool(x).flatten(1))
        return out


resnet18 = partial(ResNet, (2, 2, 2, 2), width=64)
resnet20 = partial(ResNet, (3, 3, 3), width=16)
resnet34 = partial(ResNet, (3, 4, 6, 3), width=64)
