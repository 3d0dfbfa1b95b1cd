"""No operation that reaches dimension 0 converts silently, however the dimension is spelled.

The oracle is the network run row by row: what leaves dimension 0 alone cannot tell the rows of a
batch apart from rows that come one at a time.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_ecl.graph._operations import TABLE
from snntorch_ecl.graph._rules import nowhere
from tests.helpers.dimensions import Operation, batch, network, refused, row_by_row

RANKS = (2, 3, 4)
each_rank = pytest.mark.parametrize(
    ("told", "ranks"),
    [
        pytest.param(True, (2,), id="rank told"),
        pytest.param(False, (3,), id="rank not told"),
        pytest.param(True, (3, 4), id="more ranks told", marks=pytest.mark.slow),
        pytest.param(False, (2, 4), id="more ranks not told", marks=pytest.mark.slow),
    ],
)


weekly = functools.partial(pytest.param, marks=pytest.mark.slow)


def runs(model: nn.Module, x: Tensor) -> bool:
    try:
        with torch.no_grad():
            model(x)
    except (RuntimeError, IndexError):
        return False
    return True


# Each operation of the table that works along a dimension; the number of dimensions that its
# dimension counts in, beyond those of its input; and the call.
ALONG: dict[str, tuple[int, Callable[[Tensor, Any], Any]]] = {
    "mean": (0, lambda x, d: x.mean(d)),
    "sum": (0, lambda x, d: x + x.sum(dim=d, keepdim=True)),
    "cat": (0, lambda x, d: torch.cat([x, 2 * x], d)),
    "concat": (0, lambda x, d: torch.concat([x, x], dim=d)),
    "concatenate": (0, lambda x, d: torch.concatenate([x, x], axis=d)),
    "stack": (1, lambda x, d: torch.stack([x, x], d)),
    "chunk": (0, lambda x, d: x.chunk(2, d)[0]),
    "split": (0, lambda x, d: x.split(2, dim=d)[0]),
    "tensor_split": (0, lambda x, d: torch.tensor_split(x, 2, dim=d)[1]),
    "unbind": (0, lambda x, d: x.unbind(d)[1]),
    "flatten": (0, lambda x, d: torch.flatten(x, d)),
    "unflatten": (0, lambda x, d: x.unflatten(d, (2, 2))),
    "squeeze": (0, lambda x, d: x.squeeze(d)),
    "unsqueeze": (1, lambda x, d: x.unsqueeze(d)),
    "transpose": (0, lambda x, d: x.transpose(-1, d)),
    "swapaxes": (0, lambda x, d: x.swapaxes(d, -1)),
    "swapdims": (0, lambda x, d: torch.swapdims(x, dim0=d, dim1=-1)),
    "movedim": (0, lambda x, d: x.movedim((d,), (-1,))),
    "moveaxis": (0, lambda x, d: x.moveaxis(d, -1)),
    "flip": (0, lambda x, d: x.flip(d)),
    "cumsum": (0, lambda x, d: x.cumsum(d)),
    "unfold": (0, lambda x, d: x.unfold(d, 2, 1)),
    "softmax": (0, lambda x, d: F.softmax(x, d)),
    "log_softmax": (0, lambda x, d: x.log_softmax(dim=d)),
    "glu": (0, lambda x, d: F.glu(x, d)),
    "normalize": (0, lambda x, d: F.normalize(x, dim=d)),
    "amax": (0, lambda x, d: x.amax(d)),
    "amin": (0, lambda x, d: torch.amin(x, dim=d)),
    "std": (0, lambda x, d: x.std(d)),
    "var": (0, lambda x, d: torch.var(x, d)),
    "norm": (0, lambda x, d: x.norm(2, d)),
    "linalg_vector_norm": (0, lambda x, d: torch.linalg.vector_norm(x, 2, d)),
    "narrow": (0, lambda x, d: x.narrow(d, 1, 2)),
    "select": (0, lambda x, d: x.select(d, 1)),
    "index_select": (0, lambda x, d: x.index_select(d, torch.tensor([1, 0]))),
    "roll": (0, lambda x, d: x.roll((1,), (d,))),
}

MODULES: dict[str, Callable[[int], nn.Module]] = {
    "Flatten": nn.Flatten,
    "Unflatten": lambda d: nn.Unflatten(d, (2, 2)),
}

# Those that work along dimensions which no argument names.
OTHERWISE = {"getitem", "pad", "permute", "matmul", "bmm", "linear", "conv1d", "conv2d", "conv3d",
             "layer_norm", "rms_norm", "scaled_dot_product_attention", "conv_transpose1d",
             "conv_transpose2d", "conv_transpose3d",
             "pixel_shuffle", "pixel_unshuffle"}  # fmt: skip

# Those that need shapes; tests/graph/test_example.py tries them.
SHAPED = {"repeat"}


def test_every_operation_of_the_table_with_dimensions_is_tried_here() -> None:
    reaching = {name for name, known in TABLE.items() if known.rule and known.reach is not nowhere}
    assert reaching == ALONG.keys() | OTHERWISE | SHAPED


@each_rank
@pytest.mark.parametrize("name", ALONG)
def test_an_operation_converts_along_every_dimension_but_0(
    name: str, told: bool, ranks: tuple[int, ...]
) -> None:
    extra, call = ALONG[name]
    for rank in ranks:
        count = rank + extra
        for dim in range(-count, count):
            # Swapping the last dimension with itself, or cutting one that is not there, is fine.
            model = network(lambda x, d=dim: call(x, d), rank, told=told)
            assert refused(model, batch(rank)) is (dim % count == 0), (rank, dim)


@each_rank
@pytest.mark.parametrize("name", ["mean", "flatten", "cat", "chunk"])
def test_a_dimension_that_is_computed_is_like_one_that_is_written(
    name: str, told: bool, ranks: tuple[int, ...]
) -> None:
    call = ALONG[name][1]
    for rank in ranks:
        for back in range(1, rank + 1):
            model = network(lambda x, b=back: call(x, x.dim() - b), rank, told=told)
            assert refused(model, batch(rank)) is (back == rank), (rank, back)


@each_rank
@pytest.mark.parametrize("name", MODULES)
def test_a_layer_converts_along_every_dimension_but_0(
    name: str, told: bool, ranks: tuple[int, ...]
) -> None:
    for rank in ranks:
        for dim in range(-rank, rank):
            model = network(lambda m, x: m.moved(x), rank, told=told, moved=MODULES[name](dim))
            assert refused(model, batch(rank)) is (dim % rank == 0), (rank, dim)


@pytest.mark.parametrize(
    ("told", "ranks"),
    [
        pytest.param(True, (2,), id="rank told"),
        pytest.param(False, (3,), id="rank not told"),
        *(weekly(rank == 3, (rank,)) for rank in (3, 4)),
    ],
)
@pytest.mark.parametrize("module", [True, False], ids=["module", "function"])
def test_a_padding_converts_unless_it_is_as_long_as_the_tensor(
    module: bool, told: bool, ranks: tuple[int, ...]
) -> None:
    layers = {1: nn.ZeroPad1d, 2: nn.ZeroPad2d, 3: nn.ZeroPad3d}
    constant = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}
    for rank, pairs in itertools.product(ranks, (1, 2, 3)):
        for nothing in range(pairs):  # pairs of zeros at the end pad nothing
            pad = (1, 2) * (pairs - nothing) + (0, 0) * nothing
            kinds = [layers[pairs](pad), constant[pairs](pad, 0.5)]
            for kind in kinds if module else kinds[:1]:

                def pads(m: Any, x: Tensor, pad: Any = pad) -> Tensor:
                    return m.pad(x) if module else F.pad(x, pad, value=0.5)

                model = network(pads, rank, told=told, pad=kind)
                if runs(model, batch(rank)):
                    assert refused(model, batch(rank)) is (pairs - nothing == rank), (rank, pad)


@each_rank
def test_an_order_of_dimensions_converts_if_the_first_stays(
    told: bool, ranks: tuple[int, ...]
) -> None:
    for rank in ranks:
        for order in itertools.permutations(range(rank)):
            for signs in ((0,) * rank, (rank,) * rank, (0, *[rank] * (rank - 1))):
                dims = [dim - sign for dim, sign in zip(order, signs, strict=True)]
                for call in (lambda x, d=dims: x.permute(*d), lambda x, d=dims: x.permute(d)):
                    model = network(call, rank, told=told)
                    assert refused(model, batch(rank)) is (order[0] != 0), dims


ENTRIES: tuple[Any, ...] = (slice(None), slice(0, 2), 1, None, [0, 2], ...)


def indices() -> Iterator[tuple[Any, ...]]:
    for length in (1, 2, 3):
        for index in itertools.product(ENTRIES, repeat=length):
            if sum(i is ... for i in index) <= 1:
                yield index


@pytest.mark.parametrize(
    ("rank", "every"), [(2, 11), (3, 11), *(weekly(rank, 1) for rank in RANKS)]
)
def test_an_index_converts_or_is_refused(rank: int, every: int) -> None:
    """None that converts is wrong; and none is refused that begins with ``:`` and has one list."""
    x = batch(rank)
    for index in itertools.islice(indices(), 0, None, every):
        model = network(lambda x, i=index: x[i], rank, told=False)
        if runs(model, x):
            harmless = index[0] == slice(None) and sum(isinstance(i, list) for i in index) < 2
            assert not (refused(model, x) and harmless), index


@pytest.mark.parametrize("told", [True, False], ids=["rank told", "rank not told"])
@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.pixel_shuffle(x, 2),
        lambda x: F.pixel_unshuffle(x, 2),
        lambda x: F.linear(x, WEIGHT[:, :, 0, 0]),
        lambda x: F.conv1d(x, WEIGHT[:, :, 0]),
        lambda x: F.conv2d(x, WEIGHT),
    ],
    ids=["pixel_shuffle", "pixel_unshuffle", "linear", "conv1d", "conv2d"],
)
def test_what_works_on_the_last_dimensions_is_right_or_refused(call: Operation, told: bool) -> None:
    for rank in RANKS:
        model = network(call, rank, told=told)
        if runs(model, batch(rank)):
            expected = row_by_row_is_right(model, batch(rank))
            assert refused(model, batch(rank)) is not expected, rank


@pytest.mark.parametrize("told", [True, False], ids=["rank told", "rank not told"])
@pytest.mark.parametrize("kind", [nn.PixelShuffle, nn.PixelUnshuffle])
def test_shuffling_layers_leave_the_batch_alone(kind: type[nn.Module], told: bool) -> None:
    for rank in (3, 4):
        model = network(lambda m, x: m.shuffle(x), rank, told=told, shuffle=kind(2))
        assert refused(model, batch(rank)) is (rank == 3)


WEIGHT = torch.linspace(-1, 1, 64).view(4, 4, 2, 2)


def row_by_row_is_right(model: nn.Module, x: Tensor) -> bool:
    """Whether the network itself makes of each row, in its place, what it makes of it alone."""
    with torch.no_grad():
        whole = model(x)
        try:
            rows = row_by_row(model, x)
        except RuntimeError:
            return False
        return (
            len(whole) == len(x)
            and whole.shape == rows.shape
            and torch.allclose(whole, rows, atol=1e-5)
        )


OPERANDS = [shape for n in range(5) for shape in itertools.product((1, 4), repeat=n)]

# Of every length; a 4 in every place, alone and among others.
SOME_OPERANDS = [(), (4,), (1, 4), (4, 1), (1, 4, 1), (4, 1, 1), (1, 4, 1, 4), (4, 1, 1, 1)]

BINARY: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "add": lambda x, w: x + w,
    "sub": lambda x, w: torch.sub(w, x),
    "mul": lambda x, w: w * x,
    "div": lambda x, w: x / w,
    "x @ w": lambda x, w: x @ w,
    "w @ x": lambda x, w: torch.matmul(w, x),
}


@pytest.mark.parametrize(
    ("told", "ranks", "operands"),
    [
        pytest.param(True, (2, 4), SOME_OPERANDS, id="rank told"),
        pytest.param(False, (3,), SOME_OPERANDS, id="rank not told"),
        pytest.param(True, RANKS, OPERANDS, id="all, told", marks=pytest.mark.slow),
        pytest.param(False, RANKS, OPERANDS, id="all, not told", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", ["add", "mul", "x @ w", "w @ x", *map(weekly, ("sub", "div"))])
def test_a_parameter_converts_where_broadcasting_leaves_rows_alone(
    name: str, told: bool, ranks: tuple[int, ...], operands: list[tuple[int, ...]]
) -> None:
    """Shapes of many kinds, weekly every one: a batch of 4 hides what one of 3 would show."""
    for rank, shape in itertools.product(ranks, operands):
        weight = torch.rand(shape, generator=torch.Generator().manual_seed(2)) + 0.5
        model = network(lambda m, x: BINARY[name](x, m.w), rank, told=told, w=nn.Parameter(weight))
        if runs(model, batch(rank)):
            right = row_by_row_is_right(model, batch(rank))
            assert refused(model, batch(rank)) is not right, (rank, shape)


@pytest.mark.parametrize("told", [True, False], ids=["rank told", "rank not told"])
def test_activations_of_other_ranks_are_not_laid_over_each_other(told: bool) -> None:
    for rank in RANKS:
        assert refused(network(lambda x: x - x.mean(1), rank, told=told), batch(rank))
        assert not refused(
            network(lambda x: x - x.mean(1, keepdim=True), rank, told=told), batch(rank)
        )
