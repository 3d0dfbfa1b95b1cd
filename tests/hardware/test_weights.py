"""Scaling a layer's channels through its weights is scaling its input and its output."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from snntorch_ecl.hardware._weights import by_output, times_inputs, times_outputs

LAYERS = [
    nn.Linear(4, 6, bias=False),
    nn.Conv2d(4, 6, 2, groups=2, bias=False),
    nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2, bias=False),
    nn.Conv1d(4, 6, 2, bias=False),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_units_of_inputs_and_outputs_go_into_the_weights(layer: nn.Module) -> None:
    dims = len(layer.weight.shape) - 2
    x = torch.rand(3, 4, *[4] * dims, dtype=torch.float64)
    into, out = torch.rand(4).double(), torch.rand(6).double()
    scaled = copy.deepcopy(layer).double()
    weight = times_outputs(layer, times_inputs(layer, into), out)
    scaled.weight = nn.Parameter(weight)
    ones = [1] * dims
    expected = layer.double()(x * into.view(-1, *ones)) * out.view(-1, *ones)
    torch.testing.assert_close(scaled(x), expected)
    # The sum of each output's weights is its response to ones where no place lies outside.
    assert by_output(layer, weight).shape[0] == 6
    largest = scaled(torch.ones_like(x)).transpose(0, 1).flatten(1).abs().amax(1)
    assert bool((by_output(layer, weight).abs().sum(1) >= largest - 1e-9).all())
