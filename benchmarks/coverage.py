"""How many networks of timm, torchvision and pytorchcv prepare with equal outputs, and convert.

    python benchmarks/coverage.py --library timm --out timm.json

One network of each file of models is taken, the one whose name sounds smallest; with ``--every``
all of them (hours, and much memory). Weights are random (seed 0), nothing is trained. A network
counts as prepared if ``prepare(model, example=images)`` gives its outputs within 1e-4 of their
norm, and as converted if ``convert`` takes it, with every threshold at 1, and one step gives finite
outputs.
Networks in which nothing would spike, as they have no rectifier, are counted apart.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import snntorch_ecl as ecl
from snntorch_ecl.errors import EclError

Network = tuple[str, Callable[[], nn.Module], int]
_SMALL = ("test_", "atto", "femto", "pico", "nano", "xxs", "xxt", "tiny", "_xs", "small", "micro",
          "mini", "_s")  # fmt: skip


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
    """Names, builders and sides of the images."""
    import timm

    homes = {name: timm.model_entrypoint(name).__module__ for name in timm.list_models()}
    for name in one_each(homes, every):
        side = int(timm.get_pretrained_cfg(name).input_size[-1])
        yield name, partial(timm.create_model, name), side


def torchvision_networks(every: bool) -> Iterator[Network]:
    """Classification and segmentation networks."""
    from torchvision import models

    names = models.list_models(module=models)
    for name in one_each({n: models.get_model_builder(n).__module__ for n in names}, every):
        yield name, partial(models.get_model, name, weights=None), 299 if "inc" in name else 224
    names = models.list_models(module=models.segmentation)
    for name in one_each({n: models.get_model_builder(n).__module__ for n in names}, every):
        yield name, partial(models.get_model, name, weights=None, weights_backbone=None), 65


def pytorchcv_networks(every: bool) -> Iterator[Network]:
    """Classification networks for ImageNet."""
    from pytorchcv import model_provider

    others = re.compile("cifar|svhn|cub|voc|coco|ade20k|cityscapes|celeb|lip|wrapper|jasper|quartz")
    builders = {n: b for n, b in model_provider._models.items() if not others.search(n)}
    for name in one_each({name: build.__module__ for name, build in builders.items()}, every):
        yield name, partial(model_provider.get_model, name), 224


LIBRARIES = {
    "timm": timm_networks, "torchvision": torchvision_networks, "pytorchcv": pytorchcv_networks,
}  # fmt: skip


def difference(found: Any, wanted: Any) -> float:
    """The largest distance of one output from another, relative to its norm."""
    pairs = zip(tree_leaves(found), tree_leaves(wanted), strict=True)
    tensors = [(a, b) for a, b in pairs if isinstance(a, Tensor)]
    return max(float((a - b).norm() / b.norm().clamp_min(1e-12)) for a, b in tensors)


def measure(build: Callable[[], nn.Module], side: int) -> dict[str, Any]:
    """What comes of one network."""
    torch.manual_seed(0)
    try:
        model = build().eval()
        images = torch.rand(1, 3, side, side)
        with torch.inference_mode():
            wanted = model(images)
    except Exception as error:
        return {"stage": "not built", "why": str(error)[:300]}
    try:
        ann = ecl.prepare(model, example=images)
    except EclError as error:
        nothing = "it has no ReLU" in str(error)
        return {"stage": "no rectifier" if nothing else "refused", "why": str(error)[:1500]}
    with torch.inference_mode():
        gap = difference(ann(images), wanted)
    if gap > 1e-4:
        return {"stage": "other outputs", "why": f"{gap:.3g}"}
    del model
    return {"stage": converted(ann, images), "error": gap}


def converted(ann: nn.Module, images: Tensor) -> str:
    """Whether it converts, and runs for a step."""
    for module in ann.modules():
        if isinstance(module, ecl.ThresholdClip):
            module.threshold = 1.0
    try:
        snn = ecl.convert(ann)
        with torch.inference_mode():
            outputs = tree_leaves(snn(images, num_steps=1))
    except (EclError, RuntimeError) as error:
        return f"prepared only: {str(error)[:300]}"
    finite = all(bool(y.isfinite().all()) for y in outputs if isinstance(y, Tensor))
    return "converted" if finite else "prepared only: outputs are not finite"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=LIBRARIES, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", action="store_true", help="every network of each file")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name, build, side in LIBRARIES[options.library](options.every):
        if name in found:
            continue
        began = time.monotonic()
        found[name] = {**measure(build, side), "seconds": round(time.monotonic() - began, 1)}
        options.out.write_text(json.dumps(found, indent=1))
        print(name, found[name]["stage"], flush=True)
    stages = [str(entry["stage"]).split(":")[0] for entry in found.values()]
    print({stage: stages.count(stage) for stage in sorted(set(stages))}, "of", len(stages))


if __name__ == "__main__":
    main()
