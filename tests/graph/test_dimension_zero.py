"""No operation that reaches dimension 0 converts silently, however the dimension is spelled.

The oracle is the network run row by row: what leaves dimension 0 alone cannot tell the rows of a
batch apart from rows that come one at a time.
"""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import snntorch_ecl as ecl
from snntorch_ecl.errors import TraceError, UnsupportedError
from snntorch_ecl.graph._operations import TABLE
from snntorch_ecl.graph._rules import nowhere
from tests.helpers.parts import close, wired

RANKS = (2, 3, 4)
LEVELS = 4  # as many steps: one layer of neurons is then exact
Operation = Callable[[Tensor], Any]

OLD_TORCH = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14)


def network(operation: Operation, rank: int, *, told: bool, **parts: Any) -> nn.Module:
    """Neurons on ``[B, 4, ...]``, then the operation; ``told``: the layers tell the rank."""
    torch.manual_seed(0)
    layer: nn.Module = nn.Linear(4, 4)
    if told:
        kinds = {2: nn.Flatten(), 3: nn.Conv1d(4, 4, 1), 4: nn.Conv2d(4, 4, 1)}
        layer = nn.Sequential(layer, kinds[rank])

    def forward(m: Any, x: Tensor) -> Any:
        return operation(m.clip(m.layer(x))) if not parts else operation(m, m.clip(m.layer(x)))

    return wired(forward, layer=layer, clip=ecl.ThresholdClip(LEVELS, 0.75), **parts).eval()


def batch(rank: int) -> Tensor:
    return torch.randn([4] * rank, generator=torch.Generator().manual_seed(1))


def row_by_row(model: nn.Module, x: Tensor) -> Any:
    rows = [model(row) for row in x.split(1)]
    return tree_map(lambda *values: torch.cat(values), *rows)


def refused(model: nn.Module, x: Tensor) -> bool:
    """Whether preparing, converting or the first run is refused; else both networks are right."""
    with torch.no_grad():
        try:
            ann = ecl.prepare(model)
            snn = ecl.convert(model)
        except UnsupportedError:
            return True
        except TraceError:
            if OLD_TORCH:  # loudly: nothing converts
                pytest.skip("this release of torch cannot record the call")
            raise
        results = [result(lambda: ann(x)), result(lambda: snn(x, num_steps=LEVELS))]
        refusals = [found is None for found in results]
        assert len(set(refusals)) == 1, "one of the two networks is refused, and the other is not"
        if any(refusals):
            return True
        expected = row_by_row(model, x)
        assert all(close(found, expected, 1e-5) for found in results)
        return False


def result(run: Callable[[], Any]) -> Any:
    try:
        return run()
    except UnsupportedError:
        return None


def runs(model: nn.Module, x: Tensor) -> bool:
    try:
        with torch.no_grad():
            model(x)
    except (RuntimeError, IndexError):
        return False
    return True


def halves(parts: Any) -> Tensor:
    first, *_, last = parts
    return first - last


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


@pytest.mark.parametrize(
    ("told", "ranks"),
    [
        pytest.param(True, (2, 4), id="rank told"),
        pytest.param(False, (2, 3), id="rank not told"),
        pytest.param(True, (3,), id="rank 3 told", marks=pytest.mark.slow),
        pytest.param(False, (4,), id="rank 4 not told", marks=pytest.mark.slow),
    ],
)
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


@pytest.mark.parametrize("told", [True, False], ids=["rank told", "rank not told"])
@pytest.mark.parametrize("name", ["mean", "flatten", "cat", "chunk"])
def test_a_dimension_that_is_computed_is_like_one_that_is_written(name: str, told: bool) -> None:
    call = ALONG[name][1]
    for rank in RANKS:
        for back in range(1, rank + 1):
            model = network(lambda x, b=back: call(x, x.dim() - b), rank, told=told)
            assert refused(model, batch(rank)) is (back == rank), (rank, back)


@pytest.mark.parametrize("told", [True, False], ids=["rank told", "rank not told"])
@pytest.mark.parametrize("name", MODULES)
def test_a_layer_converts_along_every_dimension_but_0(name: str, told: bool) -> None:
    for rank in RANKS:
        for dim in range(-rank, rank):
            model = network(lambda m, x: m.moved(x), rank, told=told, moved=MODULES[name](dim))
            assert refused(model, batch(rank)) is (dim % rank == 0), (rank, dim)


@pytest.mark.parametrize("told", [True, False], ids=["rank told", "rank not told"])
@pytest.mark.parametrize("module", [True, False], ids=["module", "function"])
def test_a_padding_converts_unless_it_is_as_long_as_the_tensor(module: bool, told: bool) -> None:
    layers = {1: nn.ZeroPad1d, 2: nn.ZeroPad2d, 3: nn.ZeroPad3d}
    constant = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}
    for rank, pairs in itertools.product(RANKS, (1, 2, 3)):
        for nothing in range(pairs):  # pairs of zeros at the end pad nothing
            pad = (1, 2) * (pairs - nothing) + (0, 0) * nothing
            kinds = [layers[pairs](pad), constant[pairs](pad, 0.5)]
            for kind in kinds if module else kinds[:1]:

                def pads(m: Any, x: Tensor, pad: Any = pad) -> Tensor:
                    return m.pad(x) if module else F.pad(x, pad, value=0.5)

                model = network(pads, rank, told=told, pad=kind)
                if runs(model, batch(rank)):
                    assert refused(model, batch(rank)) is (pairs - nothing == rank), (rank, pad)


@pytest.mark.parametrize("told", [True, False], ids=["rank told", "rank not told"])
def test_an_order_of_dimensions_converts_if_the_first_stays(told: bool) -> None:
    for rank in (2, 3):
        for order in itertools.permutations(range(rank)):
            for signs in itertools.product((0, rank), repeat=rank):
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


@pytest.mark.parametrize("rank", [2, 3, pytest.param(4, marks=pytest.mark.slow)])
def test_an_index_converts_or_is_refused(rank: int) -> None:
    """None that converts is wrong; and none is refused that begins with ``:`` and has one list."""
    x = batch(rank)
    for index in indices():
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
SOME_OPERANDS = [(), (1,), (4,), (1, 4), (4, 1), (4, 4), (1, 4, 1), (4, 1, 1), (4, 1, 4),
                 (1, 4, 4, 4), (4, 1, 1, 1), (4, 4, 1, 1)]  # fmt: skip
BINARY: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "add": lambda x, w: x + w,
    "sub": lambda x, w: torch.sub(w, x),
    "mul": lambda x, w: w * x,
    "div": lambda x, w: x / w,
    "x @ w": lambda x, w: x @ w,
    "w @ x": lambda x, w: torch.matmul(w, x),
}


@pytest.mark.parametrize("told", [True, False], ids=["rank told", "rank not told"])
@pytest.mark.parametrize(
    "operands", [SOME_OPERANDS, pytest.param(OPERANDS, marks=pytest.mark.slow)], ids=["some", "all"]
)
@pytest.mark.parametrize("name", BINARY)
def test_a_parameter_converts_where_broadcasting_leaves_rows_alone(
    name: str, told: bool, operands: list[tuple[int, ...]]
) -> None:
    """Shapes of many kinds, weekly every one: a batch of 4 hides what one of 3 would show."""
    for rank, shape in itertools.product(RANKS, operands):
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


WRONG: dict[str, Operation] = {
    "a dimension without a name": lambda x: x.sum(dim=()),
    "the batch as a later size": lambda x: x.reshape(-1, x.shape[0]),
    "another size first": lambda x: x.reshape(x.shape[1], -1),
    "a shape without the batch": lambda x: x.reshape(x.shape[1:]),
    "the batch's size from the end": lambda x: x / x.shape[-2],
    "the batch's size as a bound": lambda x: x[:, : x.size(0) // 2],
    "the batch's size as a shift": lambda x: x.roll(x.shape[0] - 1, 1),
    "activations as weights": lambda x: F.linear(WEIGHT[:, :, 0, 0], x),
    "activations as a bias": lambda x: F.linear(WEIGHT[:, :, 0, 0], WEIGHT[0, :, :, 0], x),
    "lists apart": lambda x: x[:, :, None, None][:, [0, 1], :, [0]],
    "another tensor to write to": lambda x: torch.add(x, 1, out=torch.empty(0)),
}


@pytest.mark.parametrize("operation", WRONG.values(), ids=WRONG)
def test_other_ways_to_dimension_0_are_refused(operation: Operation) -> None:
    assert refused(network(operation, 2, told=False), batch(2))


RIGHT: dict[str, Operation] = {
    "keepdim by position": lambda x: x + x.sum(1, False).unsqueeze(1),
    "axis": lambda x: x.sum(axis=-1),
    "another size from the end": lambda x: x / x.shape[-1],
    "sizes by unpacking": lambda x: x * (x[:, None].shape[1:][1]),
    "the batch, and what is left": lambda x: x.reshape(x.shape[0], x.numel() // x.shape[0]),
    "the batch merged": lambda x: x[:, None].reshape((-1,) + x[:, None].shape[2:]),  # noqa: RUF005
    "some of the parts": lambda x: torch.cat(x.chunk(4, 1)[:2], -1),
    "one of some of the parts": lambda x: x.chunk(4, 1)[1:][0],
}


@pytest.mark.parametrize("operation", RIGHT.values(), ids=RIGHT)
def test_what_leaves_dimension_0_alone_is_not_refused(operation: Operation) -> None:
    assert not refused(network(operation, 2, told=False), batch(2))


INTEGERS = [torch.int32, torch.int64, torch.uint8, torch.bool]
ROUNDED: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "to": lambda x, t: x.to(t),
    "to(dtype=)": lambda x, t: x.to(dtype=t),
    "to(device, dtype)": lambda x, t: x.to("cpu", t),
    "sum": lambda x, t: x.sum(1, dtype=t),
    "mean": lambda x, t: torch.mean(x, 1, dtype=t),
    "view": lambda x, t: x.view(t),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_an_integer_dtype_is_refused(name: str) -> None:
    for dtype in INTEGERS:
        with pytest.raises(UnsupportedError, match="integers, and rounding is not affine"):
            ecl.convert(network(lambda x, t=dtype: ROUNDED[name](x, t), 2, told=False))


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w: x.to(w),
        lambda x, w: x.to(w.dtype),
        lambda x, w: x.sum(1, dtype=w.dtype),
        lambda x, w: x.type_as(w),
    ],
)
def test_the_dtype_of_another_tensor_is_looked_at(call: Callable[..., Tensor]) -> None:
    steps, same = torch.arange(4), torch.rand(4)
    model = wired(lambda m, x: call(m.clip(x), m.w), clip=ecl.ThresholdClip(4, 1.0))
    model.register_buffer("w", steps)
    assert refused(model, batch(2))
    model.w = same
    assert not refused(model, batch(2))


# ------------------------------------------------------------------- checks in the graph


def mixing(m: Any, x: Tensor) -> Tensor:
    x = m.clip(m.layer(x))
    return x + x.sum(dim=-2, keepdim=True)


def mixes(rows: int) -> nn.Module:
    torch.manual_seed(0)
    return wired(mixing, layer=nn.Linear(4, 4), clip=ecl.ThresholdClip(4, 1.0)).eval()


def copies(net: nn.Module) -> Iterator[nn.Module]:
    yield net
    yield copy.deepcopy(net)
    yield pickle.loads(pickle.dumps(net))


def test_the_error_names_the_operation_the_layer_and_the_dimension() -> None:
    class Gathers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x.sum(dim=-2, keepdim=True)

    model = nn.Sequential(nn.Linear(4, 4), ecl.ThresholdClip(4, 1.0), Gathers())
    with pytest.raises(UnsupportedError) as caught:
        ecl.convert(model)(torch.rand(3, 4), num_steps=2)
    text = str(caught.value)
    for part in ("sum() in 2, as ", "dimension -2 of a value with 2 dimension(s)", "dimension 0"):
        assert part in text


def test_a_rank_that_the_layers_tell_is_refused_before_any_run() -> None:
    model = nn.Sequential(nn.Conv1d(4, 4, 1), nn.Flatten(), nn.ReLU(), nn.Flatten(-2))
    with pytest.raises(UnsupportedError, match=r"3 \(Flatten\): it mixes or moves dimension 0"):
        ecl.prepare(model)


def test_checks_outlive_copies_and_files() -> None:
    for net in copies(ecl.prepare(mixes(2))):
        assert torch.is_tensor(net(batch(3)))
        with pytest.raises(UnsupportedError):
            net(batch(2))
    for net in copies(ecl.convert(mixes(2))):
        assert torch.is_tensor(net(batch(3), num_steps=2))
        with pytest.raises(UnsupportedError):
            net(batch(2), num_steps=2)
        with pytest.raises(UnsupportedError):
            net.forward_steps(batch(3))


def test_a_prepared_network_has_each_check_once_when_it_converts() -> None:
    model = mixes(2)
    once, twice = ecl.convert(model).net, ecl.convert(ecl.prepare(ecl.prepare(model))).net
    assert once.code.count("check_dims(") == twice.code.count("check_dims(") == 1


def test_no_check_stands_where_none_is_needed() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.clip(m.conv(x))
        x = torch.cat([x, x], -3).mean((-2, -1))
        y = m.second(m.fc(x))
        return torch.stack([y + m.third(y), y], -1)

    model = wired(forward, conv=nn.Conv2d(3, 4, 3), fc=nn.Linear(8, 8), third=nn.Linear(8, 8),
                  clip=ecl.ThresholdClip(4, 1.0), second=ecl.ThresholdClip(4, 1.0))  # fmt: skip
    assert ecl.convert(model).net.code.count("check_") == 0


def test_a_checked_network_compiles_as_one_graph() -> None:
    ann = ecl.prepare(mixes(2))
    snn = ecl.convert(ann)
    x = batch(3)
    with torch.no_grad():
        compiled = torch.compile(ann, fullgraph=True, backend="eager")
        assert torch.equal(compiled(x), ann(x))
        whole = torch.compile(snn.net, fullgraph=True, backend="eager")
        assert torch.equal(whole(x, 4, 4), (ecl.reset(snn), snn.net(x, 4, 4))[1])
