"""spikingjelly's ways to run the same network, for ``bench``, where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from importlib import import_module, metadata
from typing import Any

from torch import Tensor

from ._bench_modes import Mode, Run, Subject

_BACKENDS = ("cupy", "triton")


def peer_modes() -> Mapping[str, Mode]:
    """Spikingjelly's modes; none where it is not installed."""
    if importlib.util.find_spec("spikingjelly") is None:
        return {}
    name = f"spikingjelly {metadata.version('spikingjelly')}"
    found: dict[str, Mode] = {
        f"{name}, multi-step": _multi_step("torch"),
        f"{name}, step by step": _step_by_step,
    }
    for backend in _BACKENDS:
        if importlib.util.find_spec(backend) is not None:
            found[f"{name}, multi-step, {backend}"] = _multi_step(backend)
    return found


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


def _multi_step(backend: str) -> Callable[[Subject, Tensor], Run | None]:
    """All steps at once, neurons by a backend; None where it does not run."""

    def make(subject: Subject, images: Tensor) -> Run | None:
        if backend in _BACKENDS and not images.is_cuda:
            return None
        functional = import_module("spikingjelly.activation_based.functional")
        net = _converted(subject, images)
        functional.set_step_mode(net, "m")
        functional.set_backend(net, backend)

        def run(num_steps: int) -> Any:
            functional.reset_net(net)
            return net(images.expand(num_steps, *images.shape)).mean(0)

        return run

    return make
