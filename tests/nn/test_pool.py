"""SignedMaxPool pools the sum over time; Stepwise runs any neuron step by step."""

from __future__ import annotations

import copy
import pickle

import pytest
import snntorch as snn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import SignedMaxPool, Stepwise
from snntorch_ecl.errors import InputError, StateError
from snntorch_ecl.nn._stepwise import Hold
from snntorch_ecl.nn._temporal import Temporal, unfold

law = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@st.composite
def spike_trains(draw: st.DrawFn) -> Tensor:
    """θ·{−1, 0, +1} of shape [T, 2, 3, 4], θ dyadic."""
    steps = draw(st.integers(1, 6))
    seed = draw(st.integers(0, 10_000))
    theta = draw(st.integers(1, 12)) / 8
    generator = torch.Generator().manual_seed(seed)
    return theta * torch.randint(-1, 2, (steps, 2, 3, 4), generator=generator)


def spikes(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, shape, generator=generator).float()


def pooled_over_time(pool: nn.Module, train: Tensor) -> Tensor:
    """All steps at once through a SignedMaxPool: [T, B, ...] to [T, B, ...]."""
    return unfold(SignedMaxPool(pool)(train.flatten(0, 1), num_steps=len(train)), len(train))


POOLS = {
    "windows": nn.MaxPool1d(2),
    "overlapping, padded": nn.MaxPool1d(3, stride=1, padding=1),
    "two-dimensional": nn.MaxPool2d(2, ceil_mode=True),
    "global": nn.AdaptiveMaxPool1d(1),
}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
@law
@given(spike_trains())
def test_outputs_add_up_to_the_pool_of_the_added_inputs(pool: nn.Module, train: Tensor) -> None:
    total = pooled_over_time(pool, train).cumsum(0)
    for t in range(len(train)):
        assert torch.equal(total[t], pool(train[: t + 1].sum(0)))


@law
@given(spike_trains())
def test_spikes_stay_signed_spikes_of_the_same_size(train: Tensor) -> None:
    theta = train.abs().max()
    out = pooled_over_time(nn.MaxPool1d(2), train)
    assert set(out.unique().tolist()) <= {-theta.item(), 0.0, theta.item()}


@law
@given(spike_trains())
def test_a_whole_sequence_equals_stepping(train: Tensor) -> None:
    pool = SignedMaxPool(nn.MaxPool1d(2))
    stepped = torch.stack([pool(step) for step in train])
    assert torch.equal(stepped, pooled_over_time(nn.MaxPool1d(2), train))


@law
@given(train=spike_trains(), data=st.data())
def test_a_sequence_may_be_cut_anywhere(train: Tensor, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(train)))
    pool = SignedMaxPool(nn.MaxPool2d(2))
    parts = [
        pool(part.flatten(0, 1), num_steps=len(part))
        for part in (train[:cut], train[cut:])
        if len(part)
    ]
    whole = SignedMaxPool(nn.MaxPool2d(2))(train.flatten(0, 1), num_steps=len(train))
    assert torch.equal(torch.cat(parts), whole)


def test_stepping_agrees_bit_for_bit_on_any_currents() -> None:
    train = torch.randn(50, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    pool = SignedMaxPool(nn.MaxPool1d(2))
    stepped = torch.stack([pool(step) for step in train])
    assert torch.equal(stepped, pooled_over_time(nn.MaxPool1d(2), train))


def test_pooling_each_step_would_be_wrong() -> None:
    """Two inputs that fire in turn: the per-step maximum counts both, the pooled sum one."""
    train = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    pool = nn.MaxPool1d(2)
    assert pool(train).sum() == 2
    assert pooled_over_time(pool, train).flatten().tolist() == [1, 0]


def test_a_spike_taken_back_lowers_the_maximum() -> None:
    train = torch.tensor([[[1.0, 0.0]], [[-1.0, 0.0]], [[0.0, 1.0]]])
    assert pooled_over_time(nn.MaxPool1d(2), train).flatten().tolist() == [1, -1, 1]


def test_a_held_input_equals_its_repetition() -> None:
    x = spikes(2, 3, 4)
    held = SignedMaxPool(nn.MaxPool1d(2))(x, num_steps=3, held=3)
    assert torch.equal(held, SignedMaxPool(nn.MaxPool1d(2))(x.repeat(3, 1, 1), num_steps=3))


@pytest.mark.parametrize("reset", [ecl.reset, lambda pool: pool.reset_mem()])
def test_reset_forgets_the_running_sum_and_the_batch_size(reset) -> None:
    pool, train = SignedMaxPool(nn.MaxPool1d(2)), spikes(4, 2, 3, 4)
    pool(train.flatten(0, 1), num_steps=4)
    reset(pool)
    first = train[:1, :1]
    assert torch.equal(pool(first[0]), nn.functional.max_pool1d(first[0], 2))


def test_another_shape_in_the_middle_of_a_sequence_is_an_error() -> None:
    pool = SignedMaxPool(nn.MaxPool1d(2))
    pool(torch.ones(2, 3, 4))
    with pytest.raises(StateError, match=r"\[2, 3, 4\] to \[1, 3, 4\].*reset"):
        pool(torch.ones(1, 3, 4))


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_fresh_even_in_the_middle_of_training(twin_of) -> None:
    pool, train = SignedMaxPool(nn.MaxPool1d(2)), spikes(2, 2, 3, 4)
    first = pool(train[0].requires_grad_())
    twin = twin_of(pool)
    assert torch.equal(twin(train[0]), first)
    assert torch.equal(pool(train[1]), pooled_over_time(nn.MaxPool1d(2), train)[1])


def test_gradients_reach_the_inputs() -> None:
    train = spikes(3, 1, 1, 2).requires_grad_()
    pooled_over_time(nn.MaxPool1d(2), train).sum().backward()
    # The sum of the outputs is the maximum of the sums: every step of the winner counts once.
    winner = train.sum(0).argmax()
    assert train.grad.flatten(1).sum(0)[winner] == 3
    assert train.grad.sum() == 3


# ---------------------------------------------------------------------------- time-major layout


def leaky() -> snn.Leaky:
    return snn.Leaky(beta=0.75, init_hidden=True)


def test_stepwise_equals_the_loop_over_time() -> None:
    train = torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(0)) * 2
    neuron = leaky()
    expected = torch.stack([neuron(step) for step in train])
    got = Stepwise(leaky())(train.flatten(0, 1), num_steps=5)
    assert torch.equal(got, expected.flatten(0, 1))
    assert bool(got.any())


def test_stepwise_takes_one_step_by_default_and_remembers() -> None:
    layer, neuron = Stepwise(leaky()), leaky()
    for step in torch.full((4, 2, 3), 0.5):
        assert torch.equal(layer(step), neuron(step))


def test_stepwise_holds_a_constant_input() -> None:
    x = torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    held = Stepwise(leaky())(x, num_steps=4, held=4)
    assert torch.equal(held, Stepwise(leaky())(x.repeat(4, 1), num_steps=4))


@pytest.mark.parametrize("reset", [ecl.reset, lambda layer: layer.reset_mem()])
def test_stepwise_resets_the_neuron_inside(reset) -> None:
    """0.75 stays below the threshold of 1; a second time without reset would reach it."""
    layer, current = Stepwise(leaky()), torch.full((1, 3), 0.75)
    assert not layer(current).any()
    reset(layer)
    assert not layer(current).any()
    assert layer(current).all()


@pytest.mark.parametrize(
    "make", [lambda: SignedMaxPool(nn.MaxPool1d(2)), lambda: Stepwise(leaky())]
)
def test_rows_that_are_no_multiple_of_the_steps_are_refused(make) -> None:
    with pytest.raises(InputError, match=r"7 rows.*3 equal time steps"):
        make()(torch.ones(7, 1, 2), num_steps=3)


@pytest.mark.parametrize("num_steps", [1, 4])
def test_hold_and_unfold_are_time_major(num_steps: int) -> None:
    x = torch.arange(6.0).view(3, 2)
    flat = Hold()(x, num_steps)
    assert torch.equal(flat, x.repeat(num_steps, 1))
    steps = unfold(flat, num_steps)
    assert torch.equal(steps, x.expand(num_steps, 3, 2))
    assert torch.equal(unfold(x, num_steps, held=num_steps), steps)


def test_a_held_input_is_not_copied() -> None:
    x = torch.ones(3, 2)
    assert unfold(x, 4, held=4).data_ptr() == x.data_ptr()


def test_a_temporal_layer_without_reset_is_told_so_by_name() -> None:
    class Odd(nn.Module, Temporal):
        pass

    with pytest.raises(NotImplementedError, match="Odd must define reset_mem"):
        ecl.reset(Odd())
