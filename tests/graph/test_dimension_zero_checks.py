"""Checks of dimension 0: what their errors say, and that they outlive copies and files."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import UnsupportedError
from tests.helpers.dimensions import Operation, batch, network, refused
from tests.helpers.parts import wired

WEIGHT = torch.linspace(-1, 1, 64).view(4, 4, 2, 2)


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
