"""Input of the wrong shape or type: the error names the layer, what it takes and what it got."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import ThresholdClip
from snntorch_ecl.errors import ConfigError, InputError


def ann() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), ThresholdClip(4, 0.7), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2),
        ThresholdClip(4, 0.5), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


def snn() -> ecl.SpikingNetwork:
    return ecl.convert(ann())


LABELS = torch.zeros(5, dtype=torch.int64)
WAYS: dict[str, Callable[[Tensor], Any]] = {
    "forward": lambda x: snn()(x, num_steps=2),
    "sequence": lambda x: snn().forward_steps(torch.stack([x, x])),
    "step": lambda x: snn().step(x),
    "predict": lambda x: snn().predict(x, max_steps=2),
    "evaluate": lambda x: ecl.evaluate(snn(), [(x, LABELS)], num_steps=2, progress=False),
    "with the ANN": lambda x: ecl.evaluate(
        snn(), [(x, LABELS)], num_steps=2, ann=ann(), progress=False
    ),
    "verify": lambda x: ecl.verify(snn(), ann(), [x], num_steps=2),
    "energy": lambda x: ecl.energy(snn(), [x], num_steps=2, progress=False),
    "calibrate": lambda x: ecl.calibrate(ann(), [x], progress=False),
    "compensate": lambda x: ecl.compensate(snn(), ann(), [x] * 4, num_steps=2, progress=False),
}


@pytest.mark.parametrize("way", WAYS)
def test_wrong_channels_are_named(way: str) -> None:
    with pytest.raises(
        InputError, match=r"[: ]0 \(Conv2d\) takes \[B, 2, H, W\], and is given \[\d, 3, 8, 8\]"
    ):
        WAYS[way](torch.rand(5, 3, 8, 8))


@pytest.mark.parametrize("way", ["forward", "calibrate"])
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, 2, 12, 12), r"6 \(Linear\) takes \[B, \.\.\., 16\], and is given \[\d, 64\]"),
        ((5, 2, 3, 3), r"2.* cannot take \[\d, 4, 1, 1\]"),
        ((5, 2), r"0 \(Conv2d\) takes \[B, 2, H, W\], and is given \[\d, 2\]"),
    ],
)
def test_the_layer_that_fails_is_named(way: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=rf"input of shape \[5, 2.*\] does not fit .*{message}"):
        WAYS[way](torch.rand(shape))


def test_whole_numbers_are_named_by_the_ann() -> None:
    with pytest.raises(InputError, match=r"type torch\.uint8: 0 \(Conv2d\) takes floating-point"):
        WAYS["calibrate"](torch.zeros(5, 2, 8, 8, dtype=torch.uint8))


class Breaks(nn.Module):
    """Fails by itself, whatever its input."""

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("not about shapes")


def test_an_error_of_another_kind_stays_what_it_is() -> None:
    network = snn()
    network.net.get_submodule("0").register_forward_hook(lambda *_: Breaks()(0))
    with pytest.raises(RuntimeError, match=r"^not about shapes"):
        network(torch.rand(5, 2, 8, 8), num_steps=2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ecl.calibrate([torch.rand(1)], ann()),  # type: ignore[arg-type]
        lambda: ecl.reset(None),  # type: ignore[arg-type]
        lambda: ecl.load("x", None),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_network_is_named(call: Callable[[], Any]) -> None:
    with pytest.raises(ConfigError, match=r"model must be an nn\.Module; got (list|NoneType)"):
        call()


def test_no_path_to_save_to_is_named() -> None:
    with pytest.raises(ConfigError, match=r"save\(path\): path must name a file; got NoneType"):
        snn().save(None)  # type: ignore[arg-type]
