"""Tracing with an example: what code may ask of shapes, and where the batch may go meanwhile.

The oracle is the network run row by row, and the converted network at T = L, where one layer of
neurons is exact.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import snntorch_ecl as ecl
from snntorch_ecl.errors import EclError, TraceError, UnsupportedError
from snntorch_ecl.graph._lines import _is_user
from tests.helpers.examples import IMAGES, LEVELS, around, keywords, moved, unpacked
from tests.helpers.parts import close, wired

OLD_TORCH = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14)


Pair = namedtuple("Pair", ["first", "second"])


pytestmark = pytest.mark.usefixtures("seeded_without_gradients")


def asserted(x: Tensor) -> Tensor:
    b, c, h, w = x.size()
    assert c == 4, "four channels"
    assert h == w
    assert x.shape[0] == b
    return x if h > 3 and x.ndim == 4 and not x.is_complex() else -x


def looped(x: Tensor) -> Tensor:
    y = x
    for place in range(len(x.shape) + int(x.size(-1))):
        y = y + place * x.roll(1, -1)
    return y


def padded(x: Tensor) -> Tensor:
    return torch.cat([x, torch.zeros((x.shape[0], 1, x.shape[2], x.shape[3]))], dim=-3)


def asks_for_the_tracer(x: Tensor) -> Tensor:
    return 2 * x if torch.jit.is_tracing() else x


def is_a_tensor(x: Tensor) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError("no tensor")
    return x.flatten(1)


def windows(x: Tensor) -> Tensor:
    """As Swin does: windows lie in dimension 0, one image's after the other's."""
    b, c, h, w = x.shape
    cut = x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, 2, 2)
    summed = cut - cut.mean((2, 3), keepdim=True)
    back = summed.reshape(b, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return back.reshape(b, c, h, w)


def token(m: Any, x: Tensor) -> Tensor:
    rows = x.flatten(2).transpose(-1, -2)
    rows = torch.cat([m.token.expand(rows.shape[0], -1, -1), rows], dim=1)
    return rows @ m.weight + m.place


RIGHT: dict[str, nn.Module] = {
    "unpacked sizes": around(unpacked),
    "assert and if": around(asserted),
    "len, range and int": around(looped),
    "zeros of a size": around(padded),
    "isinstance": around(is_a_tensor),
    "negative dimensions": around(lambda x: x.unsqueeze(-4).squeeze(-4).mean(-3).flatten(-2)),
    "numel of a part": around(lambda x: x.reshape(-1, x.shape[1:].numel())),
    "batch moved and back": around(moved),
    "windows in dimension 0": around(windows),
    "transposed and back": around(lambda x: x.transpose(0, 1).flip(-1).transpose(1, 0)),
    "stacked in front": around(lambda x: torch.stack([x, 2 * x])[1]),
    "a token": around(
        token, token=nn.Parameter(torch.rand(1, 1, 4)), weight=nn.Parameter(torch.rand(4, 4)),
        place=nn.Parameter(torch.rand(37, 4)),
    ),
    "a table that is indexed": around(
        lambda m, x: x + m.table[m.index.view(-1)].view(x.shape[-2], -1),
        table=nn.Parameter(torch.rand(5)), index=nn.Buffer(torch.arange(36).view(6, 6) % 5),
    ),
    "an index that is a tensor": around(
        lambda m, x: x[:, m.index], index=nn.Buffer(torch.tensor([3, 1]))
    ),
    "before the neuron": wired(
        lambda m, x: m.clip(m.conv(windows(x))).flatten(1),
        conv=nn.Conv2d(4, 4, 1), clip=ecl.ThresholdClip(LEVELS, 0.75),
    ).eval(),
    "a shortcut past the neuron": wired(
        lambda m, x: (m.clip(m.conv(x)).transpose(0, 1) + x.transpose(0, 1)).transpose(0, 1),
        conv=nn.Conv2d(4, 4, 1), clip=ecl.ThresholdClip(LEVELS, 0.75),
    ).eval(),
    "neurons on windows": wired(
        lambda m, x: m.clip(m.conv(x.view(-1, 2, 6, 6))).view(x.shape[0], -1),
        conv=nn.Conv2d(2, 4, 1), clip=ecl.ThresholdClip(LEVELS, 0.75),
    ).eval(),
}  # fmt: skip


def row_by_row(model: nn.Module, x: Tensor) -> Any:
    return tree_map(lambda *values: torch.cat(values), *[model(row) for row in x.split(1)])


@pytest.mark.parametrize("model", RIGHT.values(), ids=RIGHT)
def test_what_leaves_rows_together_converts(model: nn.Module) -> None:
    try:
        ann = ecl.prepare(model, example=IMAGES[:2])
    except TraceError:
        if OLD_TORCH:  # loudly: nothing converts
            pytest.skip("this release of torch cannot record the call")
        raise
    assert torch.equal(ann(IMAGES), model(IMAGES))
    snn = ecl.convert(ann)
    expected = row_by_row(model, IMAGES)
    assert close(snn(IMAGES, num_steps=LEVELS), expected, 1e-5)
    assert close(snn(IMAGES, num_steps=LEVELS, piece=3), expected, 1e-5)
    snn.reset()
    assert close(sum(snn.step(IMAGES) for _ in range(LEVELS)) / LEVELS, expected, 1e-5)


WRONG: dict[str, Callable[[Tensor], Any]] = {
    "summed over the batch": lambda x: x - x.mean(0, keepdim=True),
    "moved, then summed": lambda x: x.transpose(0, 2).sum(2),
    "rows of two images": lambda x: x.transpose(0, 1).reshape(x.shape[0], -1),
    "nodes of a graph": lambda x: torch.rand(3, 3) @ x.flatten(1),
    "frames in dimension 0": lambda x: x.view(x.shape[0] // 3, 3, 4, 6, 6).roll(1, 1),
    "the batch with itself": lambda x: x.flatten(1) @ x.flatten(1).T,
    "laid over itself": lambda x: (x.mean((1, 2, 3))[:, None] + x.mean((1, 2, 3))).mean(1),
    "pooled with the batch elsewhere": lambda x: F.max_pool2d(x.transpose(0, 1), 2).transpose(0, 1),
    "one image": lambda x: x[0],
    "every second image": lambda x: x[::2],
    "softmax over the batch": lambda x: x.softmax(0),
    "repeated images": lambda x: x.repeat(2, 1, 1, 1),
    "repeated rows": lambda x: torch.cat([x, x]),
    "divided by the batch's size": lambda x: x / x.shape[0],
    "returned with the batch last": lambda x: x.permute(1, 2, 3, 0),
    "a batch of three": lambda x: x.view(3, -1),
    "squeezed, whatever the batch is": lambda x: x.mean((2, 3), keepdim=True).squeeze(),
    "as many rows as the batch": lambda x: sum(x for _ in range(x.shape[0])),
    "another way for one image": lambda x: x if x.shape[0] > 1 else -x,
}


@pytest.mark.parametrize("operation", WRONG.values(), ids=WRONG)
def test_what_mixes_rows_is_refused_before_any_run(operation: Callable[[Tensor], Any]) -> None:
    with pytest.raises((UnsupportedError, TraceError)) as caught:
        ecl.prepare(around(operation), example=IMAGES)
    assert "test_example.py:" in str(caught.value)


def test_code_that_takes_images_one_by_one_is_told_what_to_prepare_instead() -> None:
    """As torchvision's detectors do; their files are not torch's, though the path begins alike."""
    with pytest.raises(TraceError, match=r"detector\.backbone"):
        ecl.prepare(around(lambda x: torch.cat([row[None] for row in x])), example=IMAGES)
    assert _is_user(torchvision.models.detection.__file__)
    assert not _is_user(nn.modules.linear.__file__)


def test_jit_tracing_is_announced_only_with_an_example() -> None:
    model = around(asks_for_the_tracer)
    assert torch.equal(ecl.prepare(model, example=IMAGES)(IMAGES), 2 * ecl.prepare(model)(IMAGES))
    assert not torch.jit.is_tracing()


@pytest.mark.parametrize("operation", [unpacked, asserted, windows, padded])
def test_without_an_example_the_error_says_that_one_helps(
    operation: Callable[[Tensor], Any],
) -> None:
    with pytest.raises(EclError, match=r"example=images"):
        ecl.prepare(around(lambda x: operation(x).transpose(0, 0)))


def test_inputs_are_those_of_the_example_and_outputs_may_be_dataclasses() -> None:
    model, x = keywords(), torch.rand(5, 3)
    ann = ecl.prepare(model, example={"pixels": x})
    assert torch.equal(ann(pixels=x)["logits"], model(x).logits)
    assert list(ann(x)) == ["logits"]  # a field that is None is left out
    snn = ecl.convert(ecl.calibrate(ann, [x], method="max", progress=False))
    assert close(snn(x, num_steps=256)["logits"], model(x).logits, 2e-2)


def test_two_inputs_by_position_and_an_output_that_is_a_named_tuple() -> None:
    def forward(m: Any, x: Tensor, y: Tensor) -> Any:
        return Pair(m.clip(x) + m.other(y), m.clip(x))

    clips = {"clip": ecl.ThresholdClip(4, 1.0), "other": ecl.ThresholdClip(4, 1.0)}
    model, inputs = wired(forward, **clips).eval(), (torch.rand(5, 3), torch.rand(5, 3))
    snn = ecl.convert(ecl.prepare(model, example=inputs))
    found = snn(*inputs, num_steps=4)
    assert isinstance(found, Pair)
    assert close(found, model(*inputs), 1e-6)


def test_an_example_of_another_rank_is_thought_of() -> None:
    class Unpacks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            batch, *_, width = x.shape
            _, _, _, _ = x.shape
            return x.reshape(batch, -1, width).relu()

    with pytest.raises(TraceError, match="Check that example= has the shape that the network"):
        ecl.prepare(Unpacks(), example=torch.zeros(3, 2))
