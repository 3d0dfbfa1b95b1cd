"""Find the network inside what training hands over; name what hides it for good."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.fx import GraphModule
from torch.optim.swa_utils import AveragedModel

from .._util.torch_internals import uncompiled
from ..errors import UnsupportedError
from ._registry import registered_types

_HOLDING_MODULE = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def inside(module: nn.Module) -> nn.Module:
    """The network in a compiled, parallel or averaged one; any other module as it is."""
    while (inner := _inner(module)) is not None:
        module = inner
    return module


def wrappers_in(module: nn.Module) -> list[nn.Module]:
    """The wrappers of :func:`inside` below a module, at any depth."""
    return [m for m in module.modules() if _inner(m) is not None]


def _inner(module: nn.Module) -> nn.Module | None:
    inner: nn.Module = uncompiled(module)
    if isinstance(module, _HOLDING_MODULE):
        inner = module.module
    return None if inner is module else inner


def refuse_hidden(model: nn.Module, known: tuple[type[nn.Module], ...] = ()) -> None:
    """Raise :class:`UnsupportedError` if layers cannot be seen, as in scripted ones.

    Types that are ``known``, or registered, have a handler that sees them.
    """
    found = dict(_hidden(model, (*known, *registered_types())))
    if found:
        places = [f"{place}: it is {kind}" for place, (kind, _) in found.items()]
        remedies = sorted({remedy for _, remedy in found.values()})
        raise UnsupportedError(places, "; ".join(remedies) + ".")


def _hidden(
    module: nn.Module, known: tuple[type[nn.Module], ...], name: str = ""
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each outermost place that hides layers, with what it is and the remedy."""
    if isinstance(module, known):
        return
    reason = _reason(module)
    if reason is not None:
        yield f"{name or 'the model'} ({type(module).__name__})", reason
        return
    for child_name, child in module.named_children():
        yield from _hidden(child, known, f"{name}.{child_name}" if name else child_name)


def _reason(module: nn.Module) -> tuple[str, str] | None:
    home = type(module).__module__
    if isinstance(module, torch.jit.ScriptModule):
        return "compiled by torch.jit", "Give the Python module that was scripted or traced"
    if home.startswith("peft."):
        remedy = "Merge the adapters into the weights first: model = model.merge_and_unload()"
        return "a peft adapter", remedy
    if "quantized" in home:
        return "quantised", "Give the network as it was before its quantisation"
    if home.startswith("torch.distributed.fsdp"):
        return "sharded over processes", "Load its full state dict into the plain network"
    if isinstance(module, GraphModule) and any(
        node.op == "call_function" and str(node.target).startswith("aten.")
        for node in module.graph.nodes
    ):
        return "an exported program", "Give the Python module that was exported"
    if _is_lightning(module) and not _has_forward(module):
        children = ", ".join(name for name, _ in module.named_children()) or "none"
        return (
            "a LightningModule without forward()",
            f"Give the network inside it (its submodules: {children})",
        )
    return None


def _is_lightning(module: nn.Module) -> bool:
    return any(
        kind.__name__ == "LightningModule"
        and kind.__module__.split(".")[0] in ("lightning", "pytorch_lightning")
        for kind in type(module).__mro__
    )


def _has_forward(module: nn.Module) -> bool:
    """Whether a Lightning module defines what it computes; Lightning's own only raises."""
    forward = type(module).forward
    lightnings = forward.__module__.split(".")[0] in ("lightning", "pytorch_lightning")
    return forward is not nn.Module.forward and not lightnings
