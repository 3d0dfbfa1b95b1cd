"""What an example says of a network's inputs: their names, shapes and dtypes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from ..errors import ConfigError
from ._checks import check_input

BATCH = 1_000_003
"""Stands for the batch's size while shapes are followed: a prime that divides no other size."""


@dataclass(frozen=True)
class Example:
    """The inputs of a network, by name: shape, with ``BATCH`` in front, and dtype of each."""

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, torch.dtype]

    def inputs(self) -> dict[str, Tensor]:
        """Tensors that say the same, as a user would give them."""
        kinds = self.dtypes.items()
        return {name: torch.zeros(1, *self.shapes[name][1:], dtype=kind) for name, kind in kinds}

    def write(self, gm: GraphModule, *, fixed: bool) -> None:
        """Check the inputs in the graph, where the example is found when that is traced again.

        ``fixed``: the code has read sizes as numbers, so that other sizes would be wrong.
        """
        fixed |= any(node.args[-1] is True for node in _checks_in(gm))
        for node in _checks_in(gm):
            gm.graph.erase_node(node)
        inputs = [node for node in gm.graph.nodes if node.op == "placeholder"]
        behind = next(node for node in gm.graph.nodes if node.op != "placeholder")
        for node in inputs:
            name = str(node.target)
            with gm.graph.inserting_before(behind):
                args = (node, (*self.shapes[name][1:],), self.dtypes[name], name, fixed)
                gm.graph.call_function(check_input, args)


def _checks_in(gm: GraphModule) -> list[Node]:
    return [node for node in gm.graph.nodes if node.target is check_input]


def example_in(model: nn.Module) -> Example | None:
    """The example that a prepared network was traced with, if any."""
    checks = _checks_in(model) if isinstance(model, GraphModule) else []
    known: list[Any] = [check.args[1:4] for check in checks]
    if not known:
        return None
    shapes = {name: (BATCH, *sizes) for sizes, _, name in known}
    return Example(shapes, {name: dtype for _, dtype, name in known})


def example_of(model: nn.Module, given: Any) -> Example | None:
    """The example that a user gives for a network; without one, that of its preparation.

    Raises:
        ConfigError: It is no tensor, tuple or dict of tensors, or does not fit ``forward``.
    """
    if given is None:
        return example_in(model)
    named = _by_name(model, given)
    for name, value in named.items():
        if not isinstance(value, Tensor) or value.ndim < 1:
            what = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ConfigError(
                f"example= must hold tensors [B, ...]; got {what} for {name}. Pass a tensor, a "
                "tuple of tensors, or a dict of tensors by the names of forward's arguments"
            )
    sizes = {name: len(value) for name, value in named.items()}
    if len(set(sizes.values())) != 1:
        raise ConfigError(f"the inputs in example= must have one batch size; got {sizes}")
    shapes = {name: (BATCH, *value.shape[1:]) for name, value in named.items()}
    return Example(shapes, {name: value.dtype for name, value in named.items()})


def _by_name(model: nn.Module, given: Any) -> dict[str, Any]:
    """The example's tensors by the names of forward's arguments, in their order."""
    parameters = inspect.signature(model.forward).parameters
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = {name: p for name, p in parameters.items() if p.kind not in variable}
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in named]
        found = {name: given[name] for name in named if name in given}
    else:
        values = tuple(given) if isinstance(given, (tuple, list)) else (given,)
        positional = [n for n, p in named.items() if p.kind is not p.KEYWORD_ONLY]
        unknown = [f"input {place}" for place in range(len(positional), len(values))]
        found = dict(zip(positional, values, strict=False))
    missing = [n for n, p in named.items() if p.default is p.empty and n not in found]
    if unknown or missing or not found:
        raise ConfigError(
            f"example= does not fit {type(model).__name__}.forward({', '.join(named)}): "
            f"missing {missing or 'nothing'}, unknown {unknown or 'nothing'}"
        )
    return found
