"""Layers of whole numbers, against exact scalar arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from snntorch_ecl.errors import InputError, StateError
from snntorch_ecl.hardware._whole_layers import FixedPoint, Shift, WholeNeuron

from ..helpers.oracles import DualThresholdNeuron


def whole(*shape: int, low: int = -9, high: int = 14) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(low, high, shape, generator=generator).double()


@pytest.mark.parametrize("lower", [-1e-3, -0.3, -math.inf])
@pytest.mark.parametrize("start", [0.5, 0.3])
def test_spikes_and_membranes_are_those_of_exact_arithmetic(lower: float, start: float) -> None:
    worth, bits = torch.tensor([0.7, 1.9]), torch.tensor([3.0, 2.0])
    neuron = WholeNeuron(worth, bits, negative_threshold=lower, initial_membrane=start)
    currents = whole(12, 5, 2)  # [T, B, C]
    spikes = neuron(currents.flatten(0, 1), num_steps=12).view(12, 5, 2)
    for channel, (theta, k) in enumerate(zip(worth.double().tolist(), bits.tolist(), strict=True)):
        size = int(2**k)
        edge = -math.inf if lower == -math.inf else Fraction(lower) * size / Fraction(theta)
        for image in range(5):
            oracle = DualThresholdNeuron(size, edge, Fraction(start))
            expected = oracle.run(int(c) for c in currents[:, image, channel])
            assert spikes[:, image, channel].tolist() == expected
            assert int(neuron.mem[image, channel]) == oracle.v - Fraction(start) * size
    assert neuron.mem.dtype == torch.int32


def test_a_run_in_two_parts_is_one_run() -> None:
    currents = whole(8, 3)
    one, two = (WholeNeuron(torch.tensor(1.0), torch.tensor(3.0)) for _ in range(2))
    parts = [two(currents[:5].flatten(), num_steps=5), two(currents[5:].flatten(), num_steps=3)]
    assert torch.equal(one(currents.flatten(), num_steps=8), torch.cat(parts))
    assert torch.equal(one.mem, two.mem)


def test_a_membrane_that_overflowed_is_an_error_even_if_it_came_back() -> None:
    neuron = WholeNeuron(torch.tensor(1.0), torch.tensor(3.0), membrane_bits=8)
    neuron.qualified_name = "layer"
    neuron(torch.tensor([-131.0, 130.0]), num_steps=2)  # v = 4 − 131 = −127: the smallest
    assert neuron.mem_sum.isfinite()
    neuron.reset_mem()
    for piece in (-132.0, 132.0):
        neuron(torch.tensor([piece]))
    with pytest.raises(StateError, match="a membrane of layer reached 128: more than 8 bits hold"):
        _ = neuron.mem_sum
    neuron.reset_mem()
    neuron(torch.tensor([1.0]))
    assert neuron.mem_sum.isfinite()


def test_fixed_point_numbers_end_where_their_bits_do() -> None:
    layer = FixedPoint(2, bits=4)  # from −7/4 to 7/4
    assert layer(torch.tensor([1.75, -1.8, 0.13])).tolist() == [7.0, -7.0, 1.0]
    with pytest.raises(
        InputError, match=r"goes up to 1\.9; as integers of 4 bits .* ends at 1\.75"
    ):
        layer(torch.tensor([1.9, 0.0]))


def test_a_shift_rounds_half_up_by_channel() -> None:
    numbers = torch.tensor([[5.0, 6.0], [-6.0, -7.0]])
    assert Shift(torch.tensor([2.0, 0.0]))(numbers).tolist() == [[1.0, 6.0], [-1.0, -7.0]]
