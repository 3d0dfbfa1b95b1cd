"""Overwritten parts, constants of sizes, choices by masks, repeated rows, subclassed pools.

The oracle is the network itself, and the converted network at T = L, where one layer of neurons is
exact.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import EclError, UnsupportedError
from snntorch_ecl.graph._opaque import taking_recorded_values
from tests.helpers.examples import IMAGES, LEVELS, around
from tests.helpers.parts import close

pytestmark = pytest.mark.usefixtures("seeded_without_gradients")
MASK = torch.arange(36).view(6, 6) % 3 > 0


def shifted(x: Tensor) -> Tensor:
    """As a temporal shift does: zeros, then a part of the value."""
    y = torch.zeros_like(x)
    y[:, 1:] = x[:, :-1]
    return y


def several_parts(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1:, 0].zero_()
    y[:, :1].copy_(x[:, 1:2])
    y[..., 2] = 5.0
    y[:, 3].fill_(-1.0)
    return y


def part_of_a_part(x: Tensor) -> Tensor:
    y = x.clone()
    inner = y[:, 1:][:, :, 2:]
    inner += 1
    return y * inner.mean((1, 2, 3), keepdim=True)


def views_made_later(x: Tensor) -> Tensor:
    y = x * 1
    y[:, 0] *= 2
    return y.flatten(1) + y[:, 0].mean((1, 2))[:, None]


def overwritten_bias(m: Any, x: Tensor) -> Tensor:
    """As torchvision's second Swin: a part of a parameter's copy is zeroed."""
    bias = m.bias.clone()
    bias[2:4].zero_()
    return F.linear(x, m.weight, bias)


def constants(x: Tensor) -> Tensor:
    n = x.shape[0]
    more = (
        torch.zeros(n, 1, 6, 6), torch.ones(n, 1, 6, 6, dtype=x.dtype), x.new_full((n, 1, 6, 6), 2),
        x.new_zeros(n, 1, 6, 6), torch.full_like(x, 0.5), torch.ones_like(x[:, :1]),
    )  # fmt: skip
    return torch.cat([x, *more], 1)


def at_fixed_places(m: Any, x: Tensor) -> Tensor:
    y = x.clone()
    y[:, m.index] = x[:, [0, 1]]
    return y


class PaddedPool(nn.MaxPool2d):
    """As timm's MaxPool2dSame."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 1, 0, 1), value=-torch.inf)
        return F.max_pool2d(x, self.kernel_size, self.stride)


class Doubled(torch.autograd.Function):
    """As activations that save memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return 2 * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * grad


class Octave(nn.Conv2d):
    """As octave convolutions: a second value, or None."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x), None


def plus(x: Tensor, y: Tensor | None) -> Tensor:
    return x if y is None else x + y


class NamedPool(nn.MaxPool2d):
    """Another name, and nothing else."""


RIGHT: dict[str, nn.Module] = {
    "shifted": around(shifted),
    "several parts": around(several_parts),
    "a part of a part": around(part_of_a_part),
    "views made later": around(views_made_later),
    "a part of a parameter": around(
        overwritten_bias, weight=nn.Parameter(torch.rand(6, 6)), bias=nn.Parameter(torch.rand(6))
    ),
    "constants of sizes": around(constants),
    "at the places in a buffer": around(at_fixed_places, index=nn.Buffer(torch.tensor([3, 1]))),
    "windows, there and back": around(
        lambda m, x: m.fold(m.unfold(x)), unfold=nn.Unfold(2), fold=nn.Fold(6, 2)
    ),
    "index_select": around(
        lambda m, x: torch.index_select(x, dim=1, index=m.index).index_select(-1, m.index),
        index=nn.Buffer(torch.tensor([3, 1, 1])),
    ),
    "a function with a gradient of its own": around(Doubled.apply),
    "parts, one of them None": around(lambda m, x: plus(*m.conv2(x)), conv2=Octave(4, 4, 1)),
    "made a tensor again": around(lambda x: torch.as_tensor(x) + torch.asarray(x)),
    "masked_fill": around(lambda x: x.masked_fill(MASK, -3.0)),
    "masked, then softmax": around(lambda x: x.masked_fill(MASK, -torch.inf).softmax(-1)),
    "where": around(lambda x: torch.where(MASK, x, 1.0) + x.where(MASK, 2 * x)),
    "rows repeated": around(lambda x: x.repeat_interleave(2, 0).reshape(x.shape[0], -1)),
    "repeated by sizes": around(
        lambda x: (
            x[:, 0].repeat_interleave(x.flatten(0, 1).shape[0] // x.shape[0], dim=0)
            * x.flatten(0, 1).flip(-1)
        )
    ),
    "a pool that pads": around(lambda m, x: m.pool(x), pool=PaddedPool(3, 2)),
    "a pool by another name": around(lambda m, x: m.pool(x), pool=NamedPool(2)),
    "reshape_as": around(lambda x: x.flatten(0, 1).reshape_as(x).flatten(2).view_as(x)),
}


@pytest.mark.parametrize("model", RIGHT.values(), ids=RIGHT)
def test_it_converts_exactly(model: nn.Module) -> None:
    expected = model(IMAGES)
    ann = ecl.prepare(model, example=IMAGES[:2])
    assert torch.equal(ann(IMAGES), expected)
    snn = ecl.convert(ann)
    assert close(snn(IMAGES, num_steps=LEVELS), expected, 1e-5)
    snn.reset()
    assert close(sum(snn.step(IMAGES) for _ in range(LEVELS)) / LEVELS, expected, 1e-5)


def one_image(x: Tensor) -> Tensor:
    y = x.clone()
    y[0] = 1
    return y


def from_the_whole_batch(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 0] = x[:, 0].sum(0)
    return y


def across(x: Tensor) -> Tensor:
    """The value's rows would lie along another dimension than the part's."""
    y = torch.zeros(6, x.shape[0], x.shape[0])
    y[:] = x[:, 0, 0].T[:, :, None]
    return y


def part_read_through_an_older_view(x: Tensor) -> Tensor:
    y = x.clone()
    older = y[:, :2]
    y[:, 1:] = 7
    return older


def transposed(x: Tensor) -> Tensor:
    y = x.clone()
    y.transpose(1, 2)[:, 1:] = 0
    return y


def copied_part(x: Tensor) -> Tensor:
    """A list takes a copy, so y stays as it is."""
    y = x.clone()
    y[:, [0, 1]].mul_(2)
    return y


WRONG: dict[str, Callable[[Tensor], Any]] = {
    "one image": one_image,
    "from the whole batch": from_the_whole_batch,
    "across": across,
    "a copy of a part": copied_part,
    "an older view": part_read_through_an_older_view,
    "transposed": transposed,
    "images repeated": lambda x: x.repeat_interleave(2),
    "a legacy variable": lambda x: torch.autograd.Variable(x) * 2,  # once a crash of Python
    "images selected": lambda x: x.index_select(0, torch.tensor([1, 0])),
    "a live mask": lambda x: x.masked_fill(x > 1, 0.0),
    "a live choice": lambda x: torch.where(x > 1, x, 0.5),
    "a rounded quotient": lambda x: torch.div(x, x + 1, rounding_mode="floor"),
}


@pytest.mark.parametrize("operation", WRONG.values(), ids=WRONG)
def test_what_mixes_rows_or_decides_by_activations_is_refused(
    operation: Callable[[Tensor], Any],
) -> None:
    with pytest.raises(EclError):
        ecl.prepare(around(operation), example=IMAGES)


class Above(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x > 1


class Places(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3)).abs().long()


def at_places(m: Any, x: Tensor) -> Tensor:
    y = x.clone()
    y[:, m.places(x)] = 0
    return y


@pytest.mark.parametrize(
    "choose",
    [
        lambda m, x: torch.where(m.above(x), x, 0.5),
        lambda m, x: x.masked_fill(m.above(x), 0.0),
        at_places,
    ],
)
def test_activations_may_not_choose_even_where_a_handler_lets_them(choose: Any) -> None:
    with pytest.raises(UnsupportedError, match="activations decide what it"):
        ecl.prepare(
            around(choose, above=Above(), places=Places()),
            example=IMAGES,
            handlers=dict.fromkeys((Above, Places), ecl.keep),
        )


def test_a_part_of_unknown_size_wants_an_example() -> None:
    with pytest.raises(EclError, match=r"ecl\.prepare\(model, example=images\)"):
        ecl.prepare(around(shifted))


def test_functions_of_torch_are_themselves_after_tracing() -> None:
    before = torch.where, torch.zeros
    with pytest.raises(EclError):
        ecl.prepare(around(across), example=IMAGES)
    ecl.prepare(around(constants), example=IMAGES)
    with taking_recorded_values(), taking_recorded_values():  # a recording within another
        inner = torch.where
    assert inner.recorded_by_ecl is before[0]  # type: ignore[attr-defined]
    with ThreadPoolExecutor(4) as threads:
        made = [threads.submit(ecl.prepare, around(constants), example=IMAGES) for _ in range(8)]
    assert all(isinstance(one.result(), nn.Module) for one in made)
    assert (torch.where, torch.zeros) == before


def test_functions_of_torch_that_somebody_replaced_stay_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @functools.wraps(torch.where)
    def counted(*args: Any, **kwargs: Any) -> Any:
        return plain(*args, **kwargs)

    plain = torch.where
    monkeypatch.setattr(torch, "where", counted)
    ecl.prepare(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    assert torch.where is counted
