"""A catalogue of tiny networks that every test of graphs and conversion runs over.

A new case is one line: a name, what builds it, the shape of its input (or of each input) without
batch, and how many rectifiers it calls.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snntorch_ecl as ecl

from .architectures import (
    Named,
    PreActivation,
    Residual,
    UNet,
    capped,
    clamped,
    dropped,
    half_split,
    late_batch,
    late_input,
    optional,
    overwriting,
    resnet18,
    shared_conv_norm,
    stem_shortcut,
    tower,
    two_outputs,
    two_readers,
    vgg16_bn,
)
from .parts import conv, head, on_grid, randomise, set_thresholds, wired


@dataclass(frozen=True)
class Net:
    """``clips``: calls of a rectifier; ``norms``: batch norms that stay; ``big``: takes a while."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[Any, ...]
    clips: int = 1
    norms: int = 0
    big: bool = False

    def model(self) -> nn.Module:
        """A fresh network in eval mode, the same at every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = self.build()
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    randomise(module)
        return model.eval()

    def inputs(self, batch: int = 3, seed: int = 1) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        shapes = self.shape if isinstance(self.shape[0], tuple) else (self.shape,)
        return tuple(torch.randn(batch, *shape, generator=generator) for shape in shapes)

    def prepared(self, levels: int | None = None) -> nn.Module:
        """The prepared network, its thresholds set to the largest activation of 8 inputs."""
        if self.big:
            return _prepared.__wrapped__(self, levels)  # a cached one would fill memory
        return copy.deepcopy(_prepared(self, levels))


@cache
def _prepared(net: Net, levels: int | None) -> nn.Module:
    ann = ecl.prepare(net.model(), levels=levels)
    set_thresholds(ann, *net.inputs(8))
    return ann


# ------------------------------------------------------------------------------------ catalogue

L, S, R = nn.Linear, nn.Sequential, nn.ReLU
IMAGE, ROW = (2, 6, 6), (4,)

CATALOGUE = [
    Net("sequential", lambda: S(L(4, 6), R(), L(6, 5), R(), L(5, 3)), ROW, 2),
    Net("ends in a neuron", lambda: S(L(4, 6), R()), ROW),
    Net("starts with a neuron", lambda: S(R(), L(4, 3)), ROW),
    Net("F.relu", lambda: wired(lambda m, x: m.b(F.relu(m.a(x))), a=L(4, 6), b=L(6, 3)), ROW),
    Net("torch.relu", lambda: wired(lambda m, x: m.b(torch.relu(m.a(x))), a=L(4, 6), b=L(6, 3)),
        ROW),
    Net("x.relu", lambda: wired(lambda m, x: m.b(m.a(x).relu()), a=L(4, 6), b=L(6, 3)), ROW),
    Net("shared relu", lambda: wired(lambda m, x: m.c(m.r(m.b(m.r(m.a(x))))),
        a=L(4, 6), b=L(6, 6), c=L(6, 3), r=R()), ROW, 2),
    Net("relu under two names", Named, ROW, 2),
    Net("in-place relus", lambda: S(L(4, 6), R(True), L(6, 5), R(True), L(5, 3)), ROW, 2),
    Net("residual", lambda: S(conv(), R(), Residual(), Residual(), head()), IMAGE, 5),
    Net("overwritten shortcut", lambda: S(conv(), PreActivation(), PreActivation(), head()),
        IMAGE, 4),
    Net("overwriting functions", lambda: wired(overwriting, a=L(4, 6), b=L(6, 6), c=L(6, 3)),
        ROW, 2),
    Net("nested", lambda: S(S(S(L(4, 6), R()), S(L(6, 6), S(R()))), L(6, 3)), ROW, 2),
    Net("concat", lambda: wired(tower, conv=conv(), left=conv(4), right=conv(4), head=head(12)),
        IMAGE, 3),
    Net("split", lambda: wired(half_split, a=L(4, 6), b=L(3, 3)), ROW, 2),
    Net("max-pool", lambda: S(conv(), R(), nn.MaxPool2d(2), conv(4), R(), head()), IMAGE, 2),
    Net("max-pool before relu", lambda: S(conv(), nn.MaxPool2d(2), R(), conv(4), nn.MaxPool2d(3),
        R(), head()), IMAGE, 2),
    Net("max-pool overlapping", lambda: S(conv(), R(), nn.MaxPool2d(3, 1, 1), conv(4), R(),
        head()), IMAGE, 2),
    Net("F.max_pool2d", lambda: wired(lambda m, x: m.b(F.max_pool2d(m.a(x).relu(), 3, stride=2)),
        a=conv(), b=head()), IMAGE),
    Net("adaptive max-pool", lambda: S(conv(), R(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), L(4, 3)),
        IMAGE),
    Net("F.adaptive_max_pool2d", lambda: wired(lambda m, x: m.b(F.adaptive_max_pool2d(
        F.relu(m.a(x)), 2).flatten(1)), a=conv(), b=L(16, 3)), IMAGE),
    Net("avg-pool", lambda: S(conv(), R(), nn.AvgPool2d(2), conv(4), R(), head()), IMAGE, 2),
    Net("conv + bn", lambda: S(conv(), nn.BatchNorm2d(4), R(), conv(4, 4, bias=False),
        nn.BatchNorm2d(4), R(), head()), IMAGE, 2),
    Net("linear + bn", lambda: S(L(4, 6), nn.BatchNorm1d(6), R(), L(6, 3)), ROW, norms=1),
    Net("bn without affine", lambda: S(conv(), nn.BatchNorm2d(4, affine=False), R(), head()),
        IMAGE),
    Net("bn of a shared conv", lambda: wired(shared_conv_norm, stem=conv(), conv=conv(4),
        bn1=nn.BatchNorm2d(4), bn2=nn.BatchNorm2d(4), head=head()), IMAGE, 2, norms=2),
    Net("bn of a conv with two readers", lambda: wired(two_readers, conv=conv(),
        bn=nn.BatchNorm2d(4), head=head()), IMAGE, 2, norms=1),
    Net("bn before conv", lambda: S(nn.BatchNorm2d(2), conv(), R(), nn.BatchNorm2d(4), conv(4),
        R(), head()), IMAGE, 2, norms=2),
    Net("bn of a grouped transposed conv", lambda: S(conv(), R(), nn.ConvTranspose2d(4, 4, 2, 2,
        groups=2), nn.BatchNorm2d(4), R(), head()), IMAGE, 2, norms=1),
    Net("relu6", lambda: S(L(4, 6), nn.ReLU6(), L(6, 3)), ROW),
    Net("hardtanh", lambda: S(L(4, 6), nn.Hardtanh(0, 0.5), L(6, 3)), ROW),
    Net("F.relu6, F.hardtanh", lambda: wired(capped, a=L(4, 6), b=L(6, 6), c=L(6, 3)), ROW, 2),
    Net("clamp", lambda: wired(clamped, a=L(4, 6), b=L(6, 6), d=L(6, 6), c=L(6, 3)), ROW, 3),
    Net("dropout", lambda: S(L(4, 6), R(), nn.Dropout(), L(6, 6), nn.Dropout(), R(), L(6, 3)),
        ROW, 2),
    Net("F.dropout", lambda: wired(dropped, a=L(4, 6), b=L(6, 3)), ROW),
    Net("identity", lambda: S(nn.Identity(), L(4, 6), R(), nn.Identity(), L(6, 3), nn.Identity()),
        ROW),
    Net("late batch size", lambda: wired(late_batch, stem=conv(), conv=conv(4), fc=L(144, 3)),
        IMAGE, 2),
    Net("view(-1, n)", lambda: wired(lambda m, x: m.b(m.a(x).relu().view(-1, 144)), a=conv(),
        b=L(144, 3)), IMAGE),
    Net("late input", lambda: wired(late_input, a=L(4, 6), b=L(10, 3)), ROW),
    Net("stem shortcut", lambda: wired(stem_shortcut, stem=conv(), conv=conv(4), head=head()),
        IMAGE, 2),
    Net("1-D conv", lambda: S(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), R(), nn.MaxPool1d(2),
        nn.Flatten(), L(8, 3)), (2, 6)),
    Net("3-D conv", lambda: S(nn.Conv3d(2, 4, 2), nn.BatchNorm3d(4), R(), nn.MaxPool3d(2),
        nn.Flatten(), L(4, 3)), (2, 3, 3, 3)),
    Net("transposed conv + bn", lambda: S(conv(), R(), nn.ConvTranspose2d(4, 3, 2, 2),
        nn.BatchNorm2d(3), R(), conv(3, 2)), IMAGE, 2),
    Net("u-net", UNet, IMAGE, 2),
    Net("two inputs", lambda: wired(lambda m, x, y: m.c(F.relu(m.a(x)) + m.b(y)), a=L(4, 6),
        b=L(5, 6), c=L(6, 3)), (ROW, (5,))),
    Net("two outputs", lambda: wired(lambda m, x: (m.b(F.relu(m.a(x))), m.a(x)), a=L(4, 6),
        b=L(6, 3)), ROW),
    Net("dict output", lambda: wired(two_outputs, a=L(4, 6), b=L(6, 6), c=L(6, 3)), ROW, 2),
    Net("default arguments", lambda: wired(optional, a=L(4, 6), b=L(6, 3)), ROW),
    Net("shared conv", lambda: wired(lambda m, x: m.h(F.relu(m.c(F.relu(m.c(F.relu(m.s(x))))))),
        s=conv(), c=conv(4), h=head()), IMAGE, 3),
    Net("shared block", lambda: wired(lambda m, x: m.h(m.b(m.b(m.s(x)))), s=conv(), b=Residual(),
        h=head()), IMAGE, 4, norms=2),
    Net("resnet18", resnet18, (3, 16, 16), 17, big=True),
    Net("vgg16_bn", vgg16_bn, (3, 32, 32), 13, big=True),
]  # fmt: skip

BY_NAME = {net.name: net for net in CATALOGUE}
assert len(BY_NAME) == len(CATALOGUE), "two networks have the same name"

# How a graph is read and rewritten is tried with the whole catalogue each time. What comes after
# (steps, files, hardware) sees layers, branches and shapes: these have all kinds, the others run
# with `-m slow`.
KINDS = {
    "sequential", "starts with a neuron", "shared relu", "residual", "overwriting functions",
    "concat", "split", "max-pool overlapping", "F.max_pool2d", "avg-pool", "conv + bn",
    "linear + bn", "bn of a shared conv", "clamp", "late batch size", "late input", "1-D conv",
    "transposed conv + bn", "u-net", "two inputs", "dict output", "shared block",
}  # fmt: skip
assert BY_NAME.keys() >= KINDS


@cache
def exact(name: str) -> ecl.SpikingNetwork:
    """A network whose spikes do not depend on the order in which a kernel sums up."""
    snn = ecl.convert(BY_NAME[name].prepared())
    for parameter in snn.parameters():
        parameter.data = on_grid(parameter, 1024)
    for neuron in snn.neurons.values():
        theta = on_grid(neuron.threshold, 16).clamp_min(1 / 16)
        neuron.threshold.copy_(theta)
        neuron.graded_spikes_factor.copy_(theta)
    return snn


@cache
def spiking(name: str) -> tuple[nn.Module, ecl.SpikingNetwork]:
    """A calibrated ANN of the catalogue and its spiking network; for tests that only read."""
    ann = BY_NAME[name].prepared()
    return ann, ecl.convert(ann)


def over(nets: list[Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("net", nets, ids=lambda net: net.name)


def over_kinds_of(nets: list[Net]) -> pytest.MarkDecorator:
    """One of each kind at every run, the others with the slow tests."""
    return over([n if n.name in KINDS else pytest.param(n, marks=pytest.mark.slow) for n in nets])


def with_norms(net: Net) -> bool:
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.model().modules())


SMALL = [net for net in CATALOGUE if not net.big]
over_small = over(SMALL)
over_kinds = over_kinds_of(SMALL)
# What is not folded differs only where there are norms.
over_kinds_folded_and_not = pytest.mark.parametrize(
    ("net", "fold"),
    [
        pytest.param(
            *(net, fold),
            id=f"{net.name}-{fold}",
            marks=() if net.name in KINDS and (fold or with_norms(net)) else pytest.mark.slow,
        )
        for net in SMALL
        for fold in (True, False)
    ],
)
over_kinds_and_big = over_kinds_of(CATALOGUE)
over_catalogue = over(
    [pytest.param(net, marks=pytest.mark.slow) if net.big else net for net in CATALOGUE]
)
