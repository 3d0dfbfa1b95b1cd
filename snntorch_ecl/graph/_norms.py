"""Norm layers that do more than normalise: the norm and what follows it, one after the other."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .._util.torch_internals import BatchNorm

_PLAIN: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def expand_norms(root: nn.Module, known: tuple[type[nn.Module], ...]) -> dict[int, list[nn.Module]]:
    """Replace each batch norm with its own ``forward`` by torch's, if a trial shows what it adds.

    What it adds is its child modules one after the other (timm's ``BatchNormAct2d`` drops and
    rectifies), a ReLU, or nothing. Returns by the norm's id the modules to run behind it; types
    that are ``known`` are left alone.
    """
    behind: dict[int, list[nn.Module]] = {}
    made: dict[nn.Module, nn.Module] = {}
    for name, module in list(root.named_modules(remove_duplicate=False)):
        if module in made:  # registered under two names
            root.set_submodule(name, made[module])
            continue
        plain = next((kind for kind in _PLAIN if isinstance(module, kind)), None)
        if plain is None or type(module) in (*_PLAIN, *known) or not name:
            continue
        assert isinstance(module, BatchNorm)
        if (added := _added(module, plain)) is None:
            continue
        norm = _plain_copy(module, plain)
        for child_name, child in module.named_children():
            norm.add_module(child_name, child)
        if added and added[0] not in module.children():
            norm.add_module("relu", added[0].train(module.training))
        root.set_submodule(name, norm)
        made[module] = norm
        behind[id(norm)] = added
    return behind


def _plain_copy(module: BatchNorm, plain: type[nn.Module]) -> nn.Module:
    """The norm of torch.nn with the same parameters, buffers and mode."""
    norm: Any = plain(module.num_features, module.eps, module.momentum, affine=False)
    norm.affine = module.affine
    norm.track_running_stats = module.track_running_stats
    for name in ("weight", "bias"):
        norm.register_parameter(name, getattr(module, name))
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        norm.register_buffer(name, getattr(module, name))
    twin: nn.Module = norm.train(module.training)
    return twin


def _added(module: BatchNorm, plain: type[nn.Module]) -> list[nn.Module] | None:
    """The modules that it runs behind the norm; None if no trial gives its output."""
    x = _input(module, plain)
    with torch.no_grad():
        try:
            trial = copy.deepcopy(module).eval().float().cpu()
            wanted = trial(x.clone())
            normed = plain.forward(trial, x)
        except Exception:  # the user's code, perhaps on inputs it is not made for
            return None
        for own, tried in zip(_candidates(module), _candidates(trial), strict=True):
            found = normed
            for layer in tried:
                found = layer(found.clone())
            if isinstance(wanted, Tensor) and torch.equal(found, wanted):
                return own
    return None


def _candidates(module: nn.Module) -> Iterator[list[nn.Module]]:
    yield []
    yield [child for child in module.children() if not isinstance(child, nn.Identity)]
    yield [nn.ReLU()]


def _input(module: BatchNorm, plain: type[nn.Module]) -> Tensor:
    shape = (2, module.num_features, *[3] * (_PLAIN.index(plain) + 1))
    return 4 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
