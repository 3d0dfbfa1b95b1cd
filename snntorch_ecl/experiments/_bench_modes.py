"""The ways to run a converted network that ``bench`` compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import snntorch
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from .._util.compiler import works_on
from .._util.rng import own_random_numbers
from .._util.torch_internals import BatchNorm
from ..conversion import calibrate, convert, prepare
from ..graph._fold import drop_identities, fold_batchnorm
from ..graph._trace import finish, trace
from ..models import build
from ..nn import ThresholdClip
from ..nn._threshold_clip import clips_of

COMPILED_ANN = "T runs of the ANN, compiled"

Run = Callable[[int], Any]
"""Runs T steps from a fresh state."""


@dataclass(frozen=True)
class Subject:
    """A network in the forms that are compared.

    Attributes:
        model: With ReLU, in eval mode.
        ann: The same network prepared, its thresholds set.
    """

    model: nn.Module
    ann: GraphModule


def random_images(model: nn.Module, count: int, size: int, *, seed: int) -> Tensor:
    """Random images ``[count, C, size, size]`` of as many channels as a network takes."""
    channels = int(next(p for p in model.parameters() if p.ndim == 4).shape[1])
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def layers_of(model: nn.Module) -> int:
    """How many layers with weights a network has, as a measure of its depth."""
    return sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules())


def build_subject(name: str, *, image_size: int, seed: int) -> Subject:
    """Build a network with random weights: time does not depend on what they are worth."""
    with own_random_numbers(seed):
        model = build(name, classes=10)
    images = random_images(model, 8, image_size, seed=seed)
    _start_norms(model, images)
    ann = calibrate(prepare(model), [images], num_steps=4, progress=False)
    return Subject(model, ann)  # type: ignore[arg-type]


def _start_norms(model: nn.Module, images: Tensor) -> None:
    """Batch norms that know their data, in eval mode: else nothing would spike in deep layers."""
    norms = [m for m in model.modules() if isinstance(m, BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(images)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    model.eval()


def folded(net: nn.Module) -> GraphModule:
    """The network as it is deployed: in eval mode, batch norms folded."""
    graph = trace(net, (ThresholdClip,), training=False)
    return finish(drop_identities(fold_batchnorm(graph))).eval()


Mode = Callable[[Subject, Tensor], Run]
"""Makes a network ready for images ``[B, C, H, W]``."""


def ann_run(subject: Subject, images: Tensor, *, compiled: bool = False) -> Run:
    """T runs of the ANN, its batch norms folded."""
    ann: Any = folded(subject.model).to(images.device)
    if compiled and works_on(images.device.type):
        mode = "reduce-overhead" if images.is_cuda else None
        ann = torch.compile(ann, mode=mode)

    def run(num_steps: int) -> None:
        for _ in range(num_steps):
            ann(images)

    return run


def _compiled_ann(subject: Subject, images: Tensor) -> Run:
    """T runs of the ANN, compiled."""
    return ann_run(subject, images, compiled=True)


def _compiled(subject: Subject, images: Tensor) -> Run:
    """All steps in one compiled graph."""
    snn = convert(subject.ann).to(images.device).compile(progress=False)
    return lambda num_steps: snn(images, num_steps=num_steps)


def _multi_step(subject: Subject, images: Tensor) -> Run:
    """All steps at once, neurons step by step."""
    snn = convert(subject.ann).to(images.device)
    return lambda num_steps: snn(images, num_steps=num_steps)


def _step_by_step(subject: Subject, images: Tensor) -> Run:
    """One step of the whole network after the other."""
    snn = convert(subject.ann).to(images.device)

    def run(num_steps: int) -> Any:
        snn.reset()
        return sum(snn.step(images) for _ in range(num_steps)) / num_steps

    return run


def _leaky(subject: Subject, images: Tensor) -> Run:
    """What one would write with snnTorch alone: its plain integrate-and-fire neuron, in a loop."""
    net = folded(subject.ann)
    for name, clip in clips_of(net).items():
        theta = clip.threshold.detach()
        neuron = snntorch.Leaky(
            beta=1.0,
            threshold=theta,
            graded_spikes_factor=theta,
            init_hidden=True,
            reset_delay=False,
        )
        # Its state begins in float32, and whatever meets it becomes float32.
        neuron.register_forward_hook(lambda _, given, spk: spk.to(given[0].dtype))
        net.add_submodule(name, neuron)
    net.to(images.device)
    neurons = [m for m in net.modules() if isinstance(m, snntorch.Leaky)]

    def run(num_steps: int) -> Any:
        for neuron in neurons:
            neuron.reset_mem()
        return sum(net(images) for _ in range(num_steps)) / num_steps

    return run


MODES: Mapping[str, Mode] = {
    COMPILED_ANN: _compiled_ann,
    "multi-step, compiled": _compiled,
    "multi-step": _multi_step,
    "step by step": _step_by_step,
    "snn.Leaky(beta=1) in a loop": _leaky,
}
"""By name; the ANN once more, compiled, is what a compiled network is to be compared with."""
