"""NIR graphs made by hand whose shapes contradict each other: the node is named."""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch import nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import InputError


@pytest.fixture
def graph() -> Any:
    """A linear layer, 16 neurons, a linear layer."""
    ann = nn.Sequential(nn.Linear(8, 16), ecl.ThresholdClip(4, 1.0), nn.Linear(16, 2))
    return ecl.to_nir(ecl.convert(ann, unit_spikes=True), torch.rand(1, 8))


def named(graph: Any, kind: type) -> list[str]:
    return [name for name, node in graph.nodes.items() if isinstance(node, kind)]


def test_thresholds_that_are_not_those_of_the_layer(graph: Any) -> None:
    (name,) = named(graph, nir.IF)
    graph.nodes[name].v_threshold = graph.nodes[name].r = np.ones(5, dtype="f4")
    with pytest.raises(InputError, match=rf"{name} has thresholds of shape \[5\], .* \[16\]"):
        ecl.from_nir(graph)


def test_a_layer_that_cannot_read_the_one_before(graph: Any) -> None:
    last = named(graph, (nir.Linear, nir.Affine))[-1]  # type: ignore[arg-type]
    graph.nodes[last].weight = np.zeros((2, 7), dtype="f4")
    with pytest.raises(InputError, match=rf"not fit together: {last} cannot take \[16\] \("):
        ecl.from_nir(graph)


def test_values_that_cannot_be_added(graph: Any) -> None:
    (name,), (source,) = named(graph, nir.IF), named(graph, nir.Input)
    graph.edges.append((source, name))
    message = rf"{name} is given values that cannot be added: \[\d+\] and \[\d+\]"
    with pytest.raises(InputError, match=message):
        ecl.from_nir(graph)


def test_one_threshold_for_all_neurons_is_no_contradiction(graph: Any) -> None:
    images = torch.rand(3, 8)
    wanted = ecl.from_nir(graph)(images, num_steps=4)
    (name,) = named(graph, nir.IF)
    graph.nodes[name].v_threshold = graph.nodes[name].v_threshold[:1]
    graph.nodes[name].r = graph.nodes[name].r[:1]
    assert torch.equal(ecl.from_nir(graph)(images, num_steps=4), wanted)
