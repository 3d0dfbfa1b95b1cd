"""The mean of what comes out is f of the mean of what came in, at every step.

The oracle is f itself, called on the mean of the inputs so far.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

import snntorch_ecl as ecl
from snntorch_ecl.errors import StateError
from snntorch_ecl.nn import Difference

STEPS, BATCH = 5, 3
X = torch.randn(STEPS, BATCH, 4, 6, generator=torch.Generator().manual_seed(0)).double()
Y = torch.randn(STEPS, BATCH, 6, 4, generator=torch.Generator().manual_seed(1)).double()

ONE: dict[str, Callable[[Tensor], Any]] = {
    "SiLU": nn.SiLU(),
    "Hardswish": nn.Hardswish(),
    "Hardsigmoid": nn.Hardsigmoid(),
    "sigmoid": torch.sigmoid,
    "GELU": nn.GELU(),
    "tanh": torch.tanh,
    "ELU": nn.ELU(),
    "softmax": nn.Softmax(-1),
    "LayerNorm": nn.LayerNorm(6).double(),
    "GroupNorm": nn.GroupNorm(2, 4).double(),
    "InstanceNorm": nn.InstanceNorm1d(4).double(),
    "RMSNorm": nn.RMSNorm(6).double(),
    "a constant": lambda x: torch.ones_like(x),
}
TWO: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "a gate": lambda x, y: x * y.transpose(1, 2).sigmoid(),
    "a product": lambda x, y: x * y.mT,
    "a matrix product": torch.matmul,
    "attention": lambda x, y: F.scaled_dot_product_attention(x, y.mT, y.mT),
}
ALL = {
    **{name: (f, (X,)) for name, f in ONE.items()},
    **{name: (f, (X, Y)) for name, f in TWO.items()},
}
every = pytest.mark.parametrize(("f", "streams"), ALL.values(), ids=ALL)


def means(steps: Tensor) -> Tensor:
    """Of steps 1 … t, for each t: in double precision, so that sums are nearly exact."""
    counts = torch.arange(1, len(steps) + 1).view(-1, *[1] * (steps.ndim - 1))
    return steps.cumsum(0) / counts


def wanted(f: Callable[..., Tensor], streams: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([f(*at_t) for at_t in zip(*map(means, streams), strict=True)])


def run(layer: nn.Module, streams: tuple[Tensor, ...], cuts: tuple[int, ...] = (STEPS,)) -> Tensor:
    """The steps that come out, from a run in pieces of these lengths."""
    found, start = [], 0
    for length in cuts:
        rows = [x[start : start + length].flatten(0, 1) for x in streams]
        found.append(layer(*rows, num_steps=length).unflatten(0, (length, -1)))
        start += length
    return torch.cat(found)


@every
@pytest.mark.parametrize("cuts", [(STEPS,), (1,) * STEPS, (2, 3)], ids=["whole", "steps", "cut"])
def test_the_mean_output_is_f_of_the_mean_input_at_every_step(
    f: Any, streams: tuple[Tensor, ...], cuts: tuple[int, ...]
) -> None:
    layer = Difference(f, streams=len(streams))
    torch.testing.assert_close(means(run(layer, streams, cuts)), wanted(f, streams))


@every
def test_a_constant_input_gives_f_of_it_at_once(f: Any, streams: tuple[Tensor, ...]) -> None:
    layer = Difference(f, streams=len(streams))
    first = [x[0] for x in streams]
    found = layer(*first, num_steps=3, held=3).unflatten(0, (3, -1))
    torch.testing.assert_close(found, f(*first).expand(3, *found.shape[1:]))


def test_arguments_behind_the_streams_are_constants() -> None:
    weight = torch.rand(6, 2).double()
    layer = Difference(lambda x, w: (x @ w).tanh(), streams=1)
    rows = X.flatten(0, 1)
    found = layer(rows, weight, num_steps=STEPS).unflatten(0, (STEPS, -1))
    torch.testing.assert_close(means(found), wanted(lambda x: (x @ weight).tanh(), (X,)))


def test_a_maximum_needs_no_steps_to_be_counted() -> None:
    layer = Difference(lambda x: x.amax(1), homogeneous=True)
    spikes = torch.tensor([[[1.0, 0.0]], [[-1.0, 1.0]], [[0.0, 1.0]]])
    assert layer(spikes.flatten(0, 1), num_steps=3).tolist() == [1.0, 0.0, 1.0]


def test_half_precision_adds_up_in_single() -> None:
    steps = torch.full((2000, 1), 0.3, dtype=torch.float16)
    layer = Difference(nn.SiLU())
    total = sum(float(layer(step)) for step in steps)
    assert total / 2000 == pytest.approx(float(F.silu(torch.tensor(0.3))), rel=2e-3)


@pytest.mark.parametrize("reset", [ecl.reset, lambda layer: layer.reset_mem()])
def test_reset_begins_anew(reset: Callable[[nn.Module], Any]) -> None:
    layer = Difference(torch.tanh)
    before = run(layer, (X,))
    reset(layer)
    assert torch.equal(run(layer, (X,)), before)


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_fresh(twin_of: Callable[[nn.Module], nn.Module]) -> None:
    layer = Difference(torch.tanh)
    before = run(layer, (X,))
    assert torch.equal(run(twin_of(layer), (X,)), before)


def test_groups_are_parked_and_joined_and_images_may_leave() -> None:
    whole, parts = Difference(torch.tanh), Difference(torch.tanh)
    run(whole, (X,))
    for group in (slice(0, 1), slice(1, 3)):
        if group.start:
            parts.park()
        run(parts, (X[:, group],))
    parts.end()
    assert parts.rows == whole.rows == BATCH
    stay = torch.tensor([True, False, True])
    whole.select(stay)
    parts.select(stay)
    assert torch.equal(whole(X[0, stay]), parts(X[0, stay]))


def test_another_shape_in_the_middle_of_a_sequence_is_an_error() -> None:
    layer = Difference(torch.tanh)
    layer.qualified_name = "block.act"
    layer(X[0])
    with pytest.raises(StateError, match=r"block\.act.*changed from \[3, 4, 6\] to \[2, 4, 6\]"):
        layer(X[0, :2])


def test_gradients_reach_inputs_and_weights() -> None:
    norm = nn.LayerNorm(6).double()
    x = X.clone().requires_grad_()
    run(Difference(norm), (x,)).mul(torch.rand(STEPS, BATCH, 4, 6)).sum().backward()
    assert x.grad is not None
    assert bool((x.grad != 0).any())
    assert norm.weight.grad is not None


@every
@pytest.mark.parametrize("pieces", [[1, 1, 3], [5], [2, 3]], ids=str)
def test_without_gradients_it_emits_the_same_and_leaves_its_inputs(
    f: Callable[..., Tensor], streams: tuple[Tensor, ...], pieces: list[int]
) -> None:
    """What is recorded makes new tensors; what is not works in memory of its own."""
    given = [stream.clone() for stream in streams]
    found: dict[bool, list[Tensor]] = {}
    for recorded in (True, False):
        layer, start, emitted = Difference(f, streams=len(streams)), 0, []
        with torch.set_grad_enabled(recorded):
            for steps in pieces:
                part = [stream[start : start + steps].flatten(0, 1) for stream in streams]
                emitted.append(layer(*part, num_steps=steps))
                start += steps
        found[recorded] = [torch.cat(emitted), *(s for s in layer._state.get() if s is not None)]
    for one, other in zip(found[True], found[False], strict=True):
        assert torch.equal(one, other)
    assert all(torch.equal(*pair) for pair in zip(streams, given, strict=True))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("homogeneous", [True, False])
@pytest.mark.parametrize(
    "f", [torch.sigmoid, nn.Identity(), lambda x: x[..., :1].expand_as(x), lambda x: x.mT]
)
def test_outputs_are_the_callers_own(
    f: Callable[..., Tensor], homogeneous: bool, training: bool
) -> None:
    """Changing what a step returned changes neither the next steps nor the input."""
    layer, twin = (Difference(f, homogeneous=homogeneous).train(training) for _ in range(2))
    given = X.clone()
    with torch.no_grad():
        for step in given:
            expected = twin(step).clone()
            found = layer(step)
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
            found.fill_(7.0)
    assert torch.equal(given, X)


def test_a_first_step_is_computed_again_only_where_that_gives_the_same() -> None:
    """In training f may draw random numbers: the sum over time stays that of the last draw."""
    torch.manual_seed(0)
    layer = Difference(nn.Dropout(0.5))
    with torch.no_grad():
        total = layer(X[0]) + layer(X[1])
    kept = total != 0
    torch.testing.assert_close(total[kept], (2 * (X[0] + X[1]))[kept])
    assert 0 < int(kept.sum()) < kept.numel()


@pytest.mark.parametrize("num_steps", [1, STEPS])
def test_a_function_may_work_in_place(num_steps: int) -> None:
    steps = X[:num_steps].flatten(0, 1)
    given = steps.clone()
    with torch.no_grad():
        found = Difference(nn.SiLU(inplace=True))(steps, num_steps=num_steps)
        assert torch.equal(found, Difference(nn.SiLU())(given, num_steps=num_steps))
    assert torch.equal(steps, given)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_function_may_give_booleans(recorded: bool) -> None:
    with torch.set_grad_enabled(recorded):
        found = Difference(lambda x: x > 0)(X.flatten(0, 1), num_steps=STEPS)
    assert torch.equal(found.view_as(X).cumsum(0), torch.stack(
        [(t + 1) * (means(X)[t] > 0) for t in range(STEPS)]
    ).to(X.dtype))  # fmt: skip


@pytest.mark.parametrize("homogeneous", [True, False])
def test_a_function_may_give_back_what_it_got(homogeneous: bool) -> None:
    with torch.no_grad():
        layer = Difference(nn.Identity(), homogeneous=homogeneous)
        found = layer(X.flatten(0, 1), num_steps=STEPS).view_as(X)
    torch.testing.assert_close(found, X)


@pytest.mark.parametrize("where", ["weight", "second stream"])
def test_it_can_be_vectorised_without_gradients(where: str) -> None:
    weights, x, y = torch.rand(3, 6).double() + 0.5, X.flatten(0, 1), Y.flatten(0, 1)

    def of_weight(weight: Tensor) -> Tensor:
        layer = Difference(lambda v: F.layer_norm(v, (6,), weight))
        return layer(x, num_steps=STEPS)

    def of_stream(weight: Tensor) -> Tensor:
        return Difference(torch.matmul, streams=2)(x, y * weight[:, None], num_steps=STEPS)

    run = of_weight if where == "weight" else of_stream
    with torch.no_grad():
        torch.testing.assert_close(torch.vmap(run)(weights), torch.stack([*map(run, weights)]))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_forward_derivatives_pass_without_gradients() -> None:
    x = X.flatten(0, 1)
    with torch.no_grad(), forward_ad.dual_level():
        found = Difference(torch.square)(forward_ad.make_dual(x, x), num_steps=STEPS)
        tangent = forward_ad.unpack_dual(found).tangent
    # d/da of (a·x)² at a = 1 is 2·x².
    torch.testing.assert_close(tangent, 2 * Difference(torch.square)(x, num_steps=STEPS))
