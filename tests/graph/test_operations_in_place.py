"""Operations that overwrite, that only look at sizes, and what their errors list."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import UnsupportedError
from snntorch_ecl.graph._trace import trace
from snntorch_ecl.graph._values import activations, is_size
from tests.helpers.operations import NOT_AFFINE, Operation, around, reasons
from tests.helpers.parts import wired


def power(x: Tensor) -> Tensor:
    x **= 2
    return x


OVERWRITING: dict[str, Operation] = {
    "clamp_max_": lambda x: x.clamp_max_(0.1),
    "sigmoid_": lambda x: x.sigmoid_(),
    "torch.sigmoid_": lambda x: torch.sigmoid_(x),
    "pow_": lambda x: x.pow_(2),
    "zero_": lambda x: x.zero_(),
    "floor_divide_": lambda x: x.floor_divide_(2),
    "F.leaky_relu_": lambda x: F.leaky_relu_(x, -1.0),
    "x.data": lambda x: x.data.mul_(2),
    "x **= 2": power,
}


@pytest.mark.parametrize("operation", OVERWRITING.values(), ids=OVERWRITING)
def test_an_overwriting_operation_whose_result_nobody_reads_is_not_lost(
    operation: Operation,
) -> None:
    """It is refused, or the prepared network does what it does."""

    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.fc(x)
        operation(x)
        return x.relu()

    torch.manual_seed(0)
    model, x = wired(forward, fc=nn.Linear(4, 4)).eval(), torch.randn(3, 4)
    try:
        ann = ecl.prepare(model)
    except UnsupportedError:
        return
    with torch.no_grad():
        assert torch.equal(ann(x), model(x))


def test_prepare_refuses_what_convert_would_refuse() -> None:
    model = wired(lambda m, x: m.fc(x.relu()).sort(1)[0], fc=nn.Linear(4, 4))
    with pytest.raises(UnsupportedError, match=r"sort\(\) in forward"):
        ecl.prepare(model)


def test_all_places_are_listed_in_one_message() -> None:
    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x // x.mean(1, keepdim=True)

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.gate(m.clip(x)).view(32, -1)
        return torch.tril(m.act(torch.cat([y, y], 0)))

    model = wired(forward, clip=ecl.ThresholdClip(4, 1.0), gate=Gate(), act=nn.Hardshrink())
    with pytest.raises(UnsupportedError) as caught:
        ecl.convert(model)
    text = str(caught.value)
    assert len(caught.value.sites) == 5
    assert text.startswith("5 place(s) cannot be converted:")
    for part in ("floordiv() in gate, as floordiv: it is not known", "view() in forward",
                 "cat() in forward", "tril() in forward",
                 "act (Hardshrink)", "ecl.register(Hardshrink)(handler)"):  # fmt: skip
        assert text.count(part) == 1


def test_a_wrapped_function_of_the_users_is_not_taken_for_torchs() -> None:
    model = wired(lambda m, x: mean(m.clip(x), 1), clip=ecl.ThresholdClip(4, 1.0))
    assert NOT_AFFINE in reasons(model)[0]


@torch.fx.wrap
def mean(x: Tensor, dim: int) -> Tensor:
    return x.square().mean(dim)


def test_operations_on_parameters_alone_are_free() -> None:
    """A weight may be normalised in whatever way: it is no activation."""
    weight = nn.Parameter(torch.tensor([[1.0, -2.0], [3.0, 0.5]]))
    model = wired(
        lambda m, x: F.linear(m.clip(x), m.weight / m.weight.norm(dim=0) * m.weight.sum()),
        clip=ecl.ThresholdClip(4, 1.0), weight=weight,
    )  # fmt: skip
    x = torch.rand(3, 2)
    with torch.no_grad():
        assert torch.allclose(ecl.convert(model)(x, num_steps=4), model(x), atol=1e-6)


def test_sizes_and_numbers_from_sizes_are_no_activations() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        b, n = x.shape
        return (x + m.bias).view(b, x.size(1) // 2 * 2, n // n) * (x.dim() - 1)

    gm = trace(wired(forward, bias=nn.Parameter(torch.zeros(4))))
    live = {node.name for node in activations(gm)}
    assert live == {"x", "add", "view", "mul_1", "output"}
    assert {n.name for n in gm.graph.nodes if is_size(n)} == {
        "getattr_1", "getitem", "getitem_1", "size", "floordiv", "mul", "floordiv_1", "dim",
        "sub",
    }  # fmt: skip


@pytest.mark.parametrize(
    "layer", [nn.Flatten(0), nn.Unflatten(0, (3, -1))], ids=["Flatten(0)", "Unflatten(0)"]
)
def test_layers_that_move_dimension_0_are_refused(layer: nn.Module) -> None:
    model = nn.Sequential(ecl.ThresholdClip(4, 1.0), layer)
    assert len(reasons(model)) == 1


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x + x.shape[0],
        lambda x: x / x.size(0),
        lambda x: x * (x.shape[0] - 1),
        lambda x: x - x.numel(),
        lambda x: x * x.shape[:1][0],
        lambda x: F.interpolate(x[:, :, None], size=x.shape[0:1]),
    ],
)
def test_computing_with_the_batch_size_is_refused(operation: Operation) -> None:
    assert any("size of dimension 0" in site for site in reasons(around(operation)))


@pytest.mark.parametrize("operation", [lambda x: x / x.shape[1], lambda x: x * x.size(-1)])
def test_computing_with_another_size_is_fine(operation: Operation) -> None:
    assert ecl.convert(around(operation)) is not None
