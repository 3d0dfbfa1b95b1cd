"""Which functional operations convert, which are refused, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import UnsupportedError
from snntorch_ecl.graph._trace import trace
from snntorch_ecl.graph._values import activations, is_size
from tests.helpers.parts import wired

Operation = Callable[[Tensor], Any]
W = torch.linspace(-1, 1, 16).view(4, 4)
KERNEL = torch.linspace(-1, 1, 48).view(4, 4, 3)


def around(operation: Operation) -> nn.Module:
    """Rows [B, 4] through a neuron and the operation."""
    torch.manual_seed(0)
    return wired(lambda m, x: operation(m.clip(m.fc(x))), fc=nn.Linear(4, 4),
                 clip=ecl.ThresholdClip(4, 0.75)).eval()  # fmt: skip


def reasons(model: nn.Module) -> tuple[str, ...]:
    with pytest.raises(UnsupportedError) as caught:
        ecl.convert(model)
    assert all(site in str(caught.value) for site in caught.value.sites)
    return caught.value.sites


ALLOWED: dict[str, Operation] = {
    "x + 1": lambda x: x + 1,
    "x + x": lambda x: x + x,
    "1 - x": lambda x: 1 - x,
    "-x": lambda x: -x,
    "x * 2": lambda x: x * 2,
    "x * W[0]": lambda x: x * W[0],
    "x / 2": lambda x: x / 2,
    "x @ W": lambda x: x @ W,
    "torch.add": lambda x: torch.add(x, x, alpha=2),
    "torch.sub": lambda x: torch.sub(x, 1),
    "torch.neg": lambda x: torch.neg(x),
    "torch.mul": lambda x: torch.mul(x, 3),
    "torch.div": lambda x: torch.div(x, 4),
    "torch.true_divide": lambda x: torch.true_divide(x, 4),
    "torch.matmul": lambda x: torch.matmul(x, W),
    "F.linear": lambda x: F.linear(x, W),
    "F.conv1d": lambda x: F.conv1d(x[:, :, None], KERNEL, padding=1),
    "F.conv2d": lambda x: F.conv2d(x[:, :, None, None], KERNEL[..., None], padding=1),
    "F.conv3d": lambda x: F.conv3d(x[:, :, None, None, None], KERNEL[..., None, None], padding=1),
    "F.pad": lambda x: F.pad(x, (1, 1), value=0.5),
    "F.interpolate": lambda x: F.interpolate(x[:, None], scale_factor=2.0),
    "F.avg_pool1d": lambda x: F.avg_pool1d(x[:, None], 2),
    "F.avg_pool2d": lambda x: F.avg_pool2d(x[:, None, None], (1, 2)),
    "F.adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(x[:, None], 2),
    "F.pixel_shuffle": lambda x: F.pixel_shuffle(x[:, :, None, None], 2),
    "cat dim 1": lambda x: torch.cat([x, -x], 1),
    "cat dim=-1": lambda x: torch.cat((x, x), dim=-1),
    "concat": lambda x: torch.concat([x, x], 1),
    "stack dim 1": lambda x: torch.stack([x, x], dim=1),
    "mean(1)": lambda x: x.mean(1),
    "mean(dim=(1, 2))": lambda x: x[:, :, None].mean(dim=(1, 2)),
    "sum(-1)": lambda x: x.sum(-1, keepdim=True),
    "torch.mean": lambda x: torch.mean(x, 1),
    "chunk dim 1": lambda x: x.chunk(2, 1)[0] - x.chunk(2, dim=1)[1],
    "split dim 1": lambda x: torch.split(x, 2, dim=1)[1],
    "unbind(1)": lambda x: x.unbind(1)[3],
    "flatten(1)": lambda x: x[:, None].flatten(1),
    "torch.flatten": lambda x: torch.flatten(x[:, None], start_dim=1),
    "view(-1, 2, 2)": lambda x: x.view(-1, 2, 2),
    "view((-1, 4))": lambda x: x[:, None].view((-1, 4)),
    "view(batch, 2, 2)": lambda x: x.view(x.shape[0], 2, 2),
    "reshape(size(0), -1)": lambda x: x[:, None].reshape(x.size(0), -1),
    "reshape(shape)": lambda x: x.reshape(x.shape),
    "permute(0, 2, 1)": lambda x: x[:, None].permute(0, 2, 1),
    "permute((0, 2, 1))": lambda x: torch.permute(x[:, None], (0, 2, 1)),
    "transpose(1, 2)": lambda x: x[:, None].transpose(1, 2),
    "squeeze(1)": lambda x: x[:, None].squeeze(1),
    "unsqueeze(-1)": lambda x: x.unsqueeze(-1),
    "flip(1)": lambda x: x.flip(1),
    "x[:, 1:3]": lambda x: x[:, 1:3],
    "x[0:, 0]": lambda x: x[0:, 0],
    "x[..., :2]": lambda x: x[..., :2],
    "x[:, [0, 2]]": lambda x: x[:, [0, 2]],
    "x[:, :n // 2]": lambda x: x[:, : x.shape[1] // 2],
    "interpolate to another's size": lambda x: F.interpolate(
        x[:, :, None, None], size=torch.cat([x[:, :, None, None]] * 2, 3).shape[-2:]
    ).flatten(1),
    "type_as": lambda x: x.type_as(W) + x.type_as(x),
    "contiguous, clone, float": lambda x: x.contiguous().clone().float().to(torch.float32),
}


@pytest.mark.parametrize("operation", ALLOWED.values(), ids=ALLOWED)
def test_affine_operations_convert_and_stay_right(operation: Operation) -> None:
    """At T = 4 = L and one layer the spiking network is exact, so any deviation is the operation's.

    Stepping, which sees one step's rows at a time, gives the same.
    """
    model = around(operation)
    snn = ecl.convert(model)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(snn(x, num_steps=4), model(x), atol=1e-5)
        snn.reset()
        stepped = torch.stack([snn.step(x) for _ in range(4)]).cumsum(0)
        whole = snn.logits_over_time(x, num_steps=4)
    counts = torch.arange(1, 5).view(-1, *[1] * (whole.ndim - 1))
    assert torch.allclose(stepped / counts, whole, atol=1e-6)


MIXES = "mixes or moves dimension 0"
NOT_AFFINE = "not known to be affine"
REFUSED: dict[str, tuple[Operation, str]] = {
    "view(32, -1)": (lambda x: x.view(32, -1), "fixes the batch size at 32; use -1 or x.shape[0]"),
    "reshape((3, 4))": (lambda x: x.reshape((3, 4)), "fixes the batch size at 3"),
    "view(-1)": (lambda x: x.view(-1), MIXES),
    "flatten()": (lambda x: x.flatten(), MIXES),
    "flatten(0)": (lambda x: x.flatten(0), MIXES),
    "torch.flatten(start_dim=0)": (lambda x: torch.flatten(x, start_dim=0), MIXES),
    "mean()": (lambda x: x.mean(), MIXES),
    "mean(0)": (lambda x: x.mean(0), MIXES),
    "mean(dim=(0, 1))": (lambda x: x.mean(dim=(0, 1)), MIXES),
    "sum(dim=0)": (lambda x: x.sum(dim=0), MIXES),
    "cat dim 0": (lambda x: torch.cat([x, x]), MIXES),
    "cat dim=0": (lambda x: torch.cat([x, x], dim=0), MIXES),
    "stack": (lambda x: torch.stack([x, x]), MIXES),
    "permute(1, 0)": (lambda x: x.permute(1, 0), MIXES),
    "permute((1, 0))": (lambda x: torch.permute(x, (1, 0)), MIXES),
    "permute(dims=)": (lambda x: x.permute(dims=(1, 0)), MIXES),
    "transpose(0, 1)": (lambda x: x.transpose(0, 1), MIXES),
    "transpose(dim1=0)": (lambda x: torch.transpose(x, dim0=1, dim1=0), MIXES),
    "squeeze()": (lambda x: x.squeeze(), MIXES),
    "squeeze(0)": (lambda x: x.squeeze(0), MIXES),
    "unsqueeze(0)": (lambda x: x.unsqueeze(0), MIXES),
    "split dim 0": (lambda x: x.split(1)[0], MIXES),
    "chunk dim 0": (lambda x: x.chunk(2)[0], MIXES),
    "unbind()": (lambda x: x.unbind()[0], MIXES),
    "tensor_split dim 0": (lambda x: torch.tensor_split(x, 2)[0], MIXES),
    "flip(0)": (lambda x: x.flip(0), MIXES),
    "flip(1, 0)": (lambda x: x.flip(1, 0), MIXES),
    "roll(1, 0)": (lambda x: x.roll(1, 0), MIXES),
    "roll(dims=0)": (lambda x: torch.roll(x, 1, dims=0), MIXES),
    "roll(1)": (lambda x: x.roll(1), MIXES),
    "x[0]": (lambda x: x[0], MIXES),
    "x[:1]": (lambda x: x[:1], MIXES),
    "x[::2]": (lambda x: x[::2], MIXES),
    "x[None]": (lambda x: x[None], MIXES),
    "x[1:, 0]": (lambda x: x[1:, 0], MIXES),
    "x[:, tensor]": (lambda x: x[:, x.argmax()], "indexing with tensors is not supported"),
    "F.linear": (lambda x: F.linear(x[:, 0], x[:, 1]), "weights are activations"),
    "1 / x": (lambda x: 1 / x, "dividing by activations is not affine"),
    "div(other=x)": (lambda x: torch.div(W[0], other=x), "dividing by activations"),
    "rounded": (lambda x: torch.div(x, 2, rounding_mode="floor"), "rounded division"),
    "x // 2": (lambda x: x // 2, NOT_AFFINE),
    "x > 0": (lambda x: x > 0, NOT_AFFINE),
    "x.T": (lambda x: x.T, NOT_AFFINE),
    "clamp(-1, 1)": (lambda x: x.clamp(-1, 1), NOT_AFFINE),
}


@pytest.mark.parametrize(("operation", "why"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_affine_or_mixes_images_is_refused_with_the_reason(
    operation: Operation, why: str
) -> None:
    found = reasons(around(operation))
    assert any(why in site for site in found)


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
            return x / x.mean(1, keepdim=True)

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.gate(m.clip(x)).view(32, -1)
        return torch.tril(m.act(torch.cat([y, y], 0)))

    model = wired(forward, clip=ecl.ThresholdClip(4, 1.0), gate=Gate(), act=nn.Hardshrink())
    with pytest.raises(UnsupportedError) as caught:
        ecl.convert(model)
    text = str(caught.value)
    assert len(caught.value.sites) == 5
    assert text.startswith("5 place(s) cannot be converted:")
    for part in ("truediv() in gate, as truediv: dividing", "view() in forward", "cat() in forward",
                 "tril() in forward",
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
