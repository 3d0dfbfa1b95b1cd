"""The architectures of the catalogue's networks, each for one thing that graphs meet."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from .parts import conv

# ------------------------------------------------------------------------------ longer forwards


class Residual(nn.Module):
    """torchvision's basic block: one ReLU called twice, and an addition in place."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(channels, channels, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv(channels, channels, bias=False), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x
        return self.relu(out)


class PreActivation(nn.Module):
    """The shortcut starts at a tensor that the first ReLU overwrites."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.conv1, self.conv2 = nn.ReLU(inplace=True), conv(4), conv(4)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(x)
        return self.conv2(self.relu(self.conv1(out))) + x


class Named(nn.Module):
    """One ReLU under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)
        self.first = self.second = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.second(self.b(self.first(self.a(x)))))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = conv(2), conv(4)
        self.up, self.out = nn.Upsample(scale_factor=2), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = F.relu(self.down(x))
        deep = F.relu(self.deep(F.max_pool2d(skip, 2)))
        return self.out(torch.cat([skip, self.up(deep)], dim=1))


def late_batch(m: Any, x: Tensor) -> Tensor:
    y = F.relu(m.conv(F.relu(m.stem(x))))
    return m.fc(y.view(x.shape[0], -1))


def tower(m: Any, x: Tensor) -> Tensor:
    y = F.relu(m.conv(x))
    return m.head(torch.cat([F.relu(m.left(y)), m.right(y).relu(), y], 1))


def optional(m: Any, x: Tensor, mask: Tensor | None = None, scale: float = 2.0) -> Tensor:
    y = m.a(x) * scale
    return m.b(F.relu(y if mask is None else y * mask))


def two_readers(m: Any, x: Tensor) -> Tensor:
    y = m.conv(x)
    return m.head(F.relu(m.bn(y)) + F.relu(y))


def shared_conv_norm(m: Any, x: Tensor) -> Tensor:
    y = F.relu(m.bn1(m.conv(m.stem(x))))
    return m.head(F.relu(m.bn2(m.conv(y))))


def late_input(m: Any, x: Tensor) -> Tensor:
    """The input joins again after a neuron: its constant value must be held there."""
    return m.b(torch.cat([F.relu(m.a(x)), x], 1))


def stem_shortcut(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    return m.head(F.relu(m.conv(F.relu(y)) + y))


def two_outputs(m: Any, x: Tensor) -> dict[str, Tensor]:
    y = F.relu(m.a(x))
    return {"logits": m.b(y), "extra": m.c(F.relu(m.b(y)))}


def clamped(m: Any, x: Tensor) -> Tensor:
    y = m.a(x).clamp(min=0)
    y = torch.clamp(m.b(y), 0, 0.5)
    return m.c(m.d(y).clamp_min(0))


def capped(m: Any, x: Tensor) -> Tensor:
    return m.c(F.hardtanh(m.b(F.relu6(m.a(x))), 0, 0.25))


def dropped(m: Any, x: Tensor) -> Tensor:
    y = F.dropout(F.relu(m.a(x)), 0.5, training=m.training)
    return m.b(F.dropout(y, training=m.training))


def overwriting(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    z = F.relu(y, inplace=True)
    h = m.b(z + y)
    h.relu_()
    g = h.add_(y)
    return m.c(g - h) + m.c(h)


def half_split(m: Any, x: Tensor) -> Tensor:
    left, right = m.a(x).chunk(2, dim=1)
    return m.b(F.relu(left) - F.relu(right)[:, [1, 0, 2]])


def resnet18() -> nn.Module:
    return torchvision.models.resnet18(num_classes=3)


def vgg16_bn() -> nn.Module:
    """With a small classifier in place of its 100 million weights."""
    with torch.device("meta"):
        net = torchvision.models.vgg16_bn(num_classes=3)
    net.avgpool, net.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, 3)
    net.features.to_empty(device="cpu")
    for module in net.features.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return net
