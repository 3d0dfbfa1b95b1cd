"""The loop without gradients against the equations, step by step, bit for bit."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import forward_ad

from snntorch_ecl import functional as F
from snntorch_ecl.errors import InputError

SHAPE = (2, 3, 4, 2)


def steps(current: Tensor, threshold: Tensor, state: F.State, **settings: object) -> object:
    """The equations."""
    spikes = []
    with torch.enable_grad():  # what is written for gradients
        for now in current:
            spk, state = F.dual_threshold_step(now, state, threshold, **settings)  # type: ignore[arg-type]
            spikes.append(spk)
    return torch.stack(spikes), state


@given(
    seed=st.integers(0, 10_000),
    num_steps=st.integers(1, 6),
    negative_threshold=st.sampled_from([0.0, -1e-3, -0.4, -math.inf]),
    initial_membrane=st.sampled_from([0.5, 0.0, 1.0]),
    spike_sizes=st.integers(1, 3),
    count_bounds=st.sampled_from([(0, None), (None, None), (-4, 4), (0, 2), (-1, None)]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    by_channel=st.booleans(),
    begun=st.sampled_from([None, "alike", "with signs"]),
)
def test_spikes_and_state_are_those_of_the_equations(
    seed: int,
    num_steps: int,
    dtype: torch.dtype,
    layout: torch.memory_format,
    by_channel: bool,
    begun: str | None,
    **settings: object,
) -> None:
    random = torch.Generator().manual_seed(seed)
    current = torch.randn(num_steps, *SHAPE, generator=random).to(dtype)
    current = current.flatten(0, 1).to(memory_format=layout).view(num_steps, *SHAPE)
    # Sums of sixteenths meet the thresholds exactly now and then.
    current = (current * 16).round() / 16
    threshold = torch.tensor([0.5, 0.7, 1.25] if by_channel else [0.75], dtype=dtype).view(-1, 1, 1)
    state = F.fresh_state(current[0])
    if begun:
        before = settings if begun == "alike" else {**settings, "count_bounds": (None, None)}
        state = steps(current.flip(0), threshold, state, **before)[1]  # type: ignore[index]
    given_state = F.State(*(part.clone() for part in state))
    given_current = current.clone()
    with torch.no_grad():
        found, after = F.scan(current, threshold, state if begun else None, **settings)  # type: ignore[arg-type]
    wanted, wanted_after = steps(current, threshold, state, **settings)  # type: ignore[misc]
    assert torch.equal(found, wanted)
    assert torch.equal(after.mem, wanted_after.mem)
    assert torch.equal(after.spike_count, wanted_after.spike_count)
    assert (found.dtype, after.mem.dtype, after.spike_count.dtype) == (
        wanted.dtype, wanted_after.mem.dtype, torch.int32,
    )  # fmt: skip
    assert torch.equal(current, given_current)
    assert all(torch.equal(*pair) for pair in zip(state, given_state, strict=True))


def test_what_is_not_finite_is_left_so() -> None:
    current = torch.tensor([[0.4, torch.nan, torch.inf, -torch.inf]]).expand(3, 4)
    with torch.no_grad():
        spikes, state = F.scan(current, 1.0)
    assert spikes[:, 0].tolist() == [0.0, 1.0, 0.0]
    assert state.mem[1:].isfinite().logical_not().all()
    assert spikes[:, 1].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("size", [1, 3])
def test_a_state_of_double_precision_stays_so(size: int) -> None:
    current, state = torch.full((1, 2), 0.3), F.fresh_state(torch.zeros(2, dtype=torch.float64))
    with torch.no_grad():
        _, after = F.scan(current, 1.0, state, spike_sizes=size)
    wanted = F.dual_threshold_step(current[0], state, torch.tensor(1.0), spike_sizes=size)[1]
    assert after.mem.dtype == wanted.mem.dtype == torch.float64
    assert torch.equal(after.mem, wanted.mem)


def test_a_count_in_floating_point_is_not_changed() -> None:
    state = F.State(torch.zeros(2), torch.zeros(2))
    with torch.no_grad():
        F.scan(torch.ones(3, 2), 1.0, state)
    assert state.spike_count.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("shape", [(3, 2, 4), (1, 1, 1)])
def test_a_threshold_must_fit_one_step(shape: tuple[int, ...]) -> None:
    with torch.no_grad(), pytest.raises(InputError, match=r"does not broadcast to \[2, 4\]"):
        F.scan(torch.rand(3, 2, 4), torch.ones(shape))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_forward_derivatives_pass_without_gradients() -> None:
    current = torch.rand(3, 4)
    with torch.no_grad(), forward_ad.dual_level():
        _, state = F.scan(forward_ad.make_dual(current, torch.ones(3, 4)), 1.0)
        tangent = forward_ad.unpack_dual(state.mem).tangent
    assert tangent.tolist() == [3.0] * 4  # spikes have none: what came in is left
