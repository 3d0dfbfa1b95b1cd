"""Whose networks ``coverage.py`` counts: one of each file of models, the smallest by its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import nn

Build = Callable[..., nn.Module]
Network = tuple[str, Build, tuple[int, ...]]
_SMALL = ("test_", "atto", "femto", "pico", "nano", "xxs", "xxt", "tiny", "_xs", "small", "micro",
          "mini", "_s")  # fmt: skip
SIDE = 64  # pixels; where a network takes no such images, its own size


def sounds_small(name: str) -> tuple[int, int, int]:
    """A sorting key: small words come first, then small numbers, then short names."""
    rank = next((place for place, word in enumerate(_SMALL) if word in name), len(_SMALL))
    number = re.search(r"\d+", name)
    return rank, int(number[0]) if number else 0, len(name)


def one_each(homes: dict[str, str], every: bool) -> list[str]:
    """Of names and the files they are from: the one of each file that sounds smallest, or all."""
    if every:
        return list(homes)
    families: dict[str, list[str]] = {}
    for name, home in homes.items():
        families.setdefault(home, []).append(name)
    return [min(names, key=sounds_small) for names in families.values()]


def timm_networks(every: bool) -> Iterator[Network]:
    """Names, builders and the sides of images to try."""
    import timm

    homes = {name: timm.model_entrypoint(name).__module__ for name in timm.list_models()}
    for name in one_each(homes, every):
        own = int(timm.get_pretrained_cfg(name).input_size[-1])
        yield name, partial(timm.create_model, name), (SIDE, 256, own) if own > 256 else (SIDE, own)


def torchvision_networks(every: bool) -> Iterator[Network]:
    """Classification, segmentation and detection networks."""
    from torchvision import models

    names = models.list_models(module=models)
    for name in one_each({n: models.get_model_builder(n).__module__ for n in names}, every):
        yield name, partial(models.get_model, name, weights=None), (SIDE, 224, 299)
    for module in (models.segmentation, models.detection):
        names = models.list_models(module=module)
        for name in one_each({n: models.get_model_builder(n).__module__ for n in names}, every):
            build = partial(models.get_model, name, weights=None, weights_backbone=None)
            yield name, build, (SIDE,)


def pytorchcv_networks(every: bool) -> Iterator[Network]:
    """Networks for ImageNet; also others that have no network for ImageNet in their file."""
    from pytorchcv import model_provider

    others = re.compile("cifar|svhn|cub|voc|coco|ade20k|cityscapes|celeb|lip|wrapper|jasper|quartz")
    builders = {n: b for n, b in model_provider._models.items() if not others.search(n)}
    for name in one_each({name: build.__module__ for name, build in builders.items()}, every):
        yield name, partial(model_provider.get_model, name), (SIDE, 224, 299, 331)


def smp_networks(every: bool) -> Iterator[Network]:
    """Every decoder, with a ResNet-18 in front of it."""
    import segmentation_models_pytorch as smp
    from segmentation_models_pytorch.base import SegmentationModel

    for name, kind in vars(smp).items():
        if isinstance(kind, type) and issubclass(kind, SegmentationModel):
            encoder = "tu-vit_tiny_patch16_224" if name == "DPT" else "resnet18"
            build = partial(kind, encoder_name=encoder, encoder_weights=None, classes=5)
            yield name, build, (SIDE, 224)


LIBRARIES: dict[str, Any] = {
    "timm": timm_networks, "torchvision": torchvision_networks, "pytorchcv": pytorchcv_networks,
    "smp": smp_networks,
}  # fmt: skip
