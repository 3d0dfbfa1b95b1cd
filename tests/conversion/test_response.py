"""What a neuron answers to a constant current, by formula and by running it."""

import pytest
import torch

import snntorch_ecl as ecl
from snntorch_ecl.conversion._response import answer


@pytest.mark.parametrize(
    ("spike_sizes", "signed"), [(1, False), (2, False), (3, False), (4, False), (1, True)]
)
@pytest.mark.parametrize("num_steps", [1, 2, 4])
def test_the_answer_is_what_the_neuron_gives(
    num_steps: int, spike_sizes: int, signed: bool
) -> None:
    current = torch.linspace(-1.5, 1.5, 997)
    theta = 0.7
    neuron = ecl.DualThreshold(theta, spike_sizes=spike_sizes, signed=signed, init_hidden=True)
    with torch.no_grad():
        mean = torch.stack([neuron(current[None]) for _ in range(num_steps)]).mean(0)[0]
    found = answer(current, torch.tensor(theta), num_steps, spike_sizes, signed=signed)
    # Edges of more than two sizes are known within a part of the distance between two levels.
    assert (found - mean).abs().gt(1e-6).double().mean() <= (0.002 if spike_sizes > 2 else 0)
