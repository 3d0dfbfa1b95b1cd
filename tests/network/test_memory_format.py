"""Channels last in, channels last out: no layer of a run copies its input to another layout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import SpikingNetwork, ThresholdClip
from snntorch_ecl.functional import _fused
from tests.helpers.compiled import Residual
from tests.helpers.compilers import only_traced

LAST = torch.channels_last


def network() -> SpikingNetwork:
    torch.manual_seed(0)
    ann = nn.Sequential(
        nn.Conv2d(2, 4, 3), ThresholdClip(4, 0.7), nn.Conv2d(4, 4, 3), ThresholdClip(4, 0.5),
        nn.MaxPool2d(2), Residual(), nn.Conv2d(4, 3, 2),
    )  # fmt: skip
    return ecl.convert(ann).eval()


def images() -> Tensor:
    return torch.randn(6, 2, 12, 12, generator=torch.Generator().manual_seed(1))


def kept(snn: SpikingNetwork, run: Any) -> dict[str, bool]:
    """Whether what each layer gives lies channels last."""
    found: dict[str, bool] = {}

    def see(name: str, output: Tensor) -> None:
        found[name] = output.is_contiguous(memory_format=LAST)

    hooks = [
        module.register_forward_hook(lambda m, i, output, name=name: see(name, output))
        for name, module in snn.net.named_modules()
        if name and not list(module.children())
    ]
    run(snn)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("gradients", [False, True])
def test_every_layer_keeps_channels_last(gradients: bool) -> None:
    snn, x = network().to(memory_format=LAST), images().to(memory_format=LAST)
    with torch.set_grad_enabled(gradients):
        found = kept(snn, lambda snn: snn(x, num_steps=4))
        torch.testing.assert_close(snn(x, num_steps=4), network()(images(), num_steps=4))
    assert len(found) >= 8
    assert all(found.values()), found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_neurons_keep_it_and_spike_alike() -> None:
    assert_compiled_neurons_keep_it(2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_in_pieces_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fused, "_PIECE", 2)
    with only_traced():
        assert_compiled_neurons_keep_it(3)


def assert_compiled_neurons_keep_it(num_steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    for held in (False, True):
        current = torch.randn(2 if held else 2 * num_steps, 4, 5, 5, generator=generator)
        run = {"num_steps": num_steps, "held": num_steps if held else 1}
        current = current.to(memory_format=LAST)  # the other layout: tests/functional/test_fused.py
        made = []
        for fused in (False, True):
            neuron = ecl.DualThreshold(0.4, init_hidden=True)
            neuron.fused = fused
            with torch.no_grad():
                made.append((neuron(current, **run), neuron.mem, neuron.spike_count))
        for plain, compiled in zip(*made, strict=True):
            assert plain.abs().max() > 0
            assert torch.equal(compiled, plain)
            assert compiled.stride() == plain.stride()
        assert made[1][0].is_contiguous(memory_format=LAST)
