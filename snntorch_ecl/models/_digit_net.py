"""The demo's network."""

from __future__ import annotations

from torch import Tensor, nn


class DigitNet(nn.Module):
    """A small convolutional network for 28 × 28 grey digits, in torchvision's manner.

    Six 3×3 convolutions with batch norm and ReLU, two max-poolings, average pooling, one linear
    layer. It is deeper than digits need: conversion errors pile up with depth.

    Args:
        classes: Number of classes.

    Shape:
        Input ``[B, 1, 28, 28]``, output logits ``[B, classes]``.

    Example:
        >>> import torch
        >>> DigitNet()(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(*_block(1, 12), *_block(12, 12), nn.MaxPool2d(2))
        self.stage2 = nn.Sequential(*_block(12, 24), *_block(24, 24), nn.MaxPool2d(2))
        self.stage3 = nn.Sequential(*_block(24, 32), *_block(32, 32))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        x = self.stage3(self.stage2(self.stage1(x)))
        out: Tensor = self.fc(self.pool(x).flatten(1))
        return out


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """A convolution with batch norm and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
