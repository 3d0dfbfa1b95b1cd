"""spikingjelly's ways to run the same network, for ``bench``, where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from importlib import import_module, metadata
from typing import Any

from torch import Tensor

from ._bench_modes import Mode, Run, Subject


def peer_modes() -> Mapping[str, Mode]:
    """Modes of spikingjelly, with the kernels that it chooses; none where it is not installed."""
    if importlib.util.find_spec("spikingjelly") is None:
        return {}
    name = f"spikingjelly {metadata.version('spikingjelly')}"
    return {f"{name}, multi-step": _multi_step, f"{name}, step by step": _step_by_step}


def _converted(subject: Subject, images: Tensor) -> Any:
    """The peer's network by its defaults; thresholds have no influence on time."""
    ann2snn = import_module("spikingjelly.activation_based.ann2snn")
    recipe = ann2snn.RateCodingRecipe(dataloader=[images], mode="max")
    return ann2snn.Converter(recipe=recipe, device=str(images.device)).convert(subject.model).eval()


def _step_by_step(subject: Subject, images: Tensor) -> Run:
    """One step of the whole network after the other."""
    functional = import_module("spikingjelly.activation_based.functional")
    net = _converted(subject, images)

    def run(num_steps: int) -> Any:
        functional.reset_net(net)
        return sum(net(images) for _ in range(num_steps)) / num_steps

    return run


def _multi_step(subject: Subject, images: Tensor) -> Run:
    """All steps at once."""
    functional = import_module("spikingjelly.activation_based.functional")
    net = _converted(subject, images)
    functional.set_step_mode(net, "m")

    def run(num_steps: int) -> Any:
        functional.reset_net(net)
        return net(images.expand(num_steps, *images.shape)).mean(0)

    return run
