"""What runs once for all steps, and what runs at each of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from tests.helpers.nets import BY_NAME, spiking
from tests.helpers.parts import head, outputs, set_thresholds, wired

pytestmark = pytest.mark.usefixtures("clean_registry", "seeded_without_gradients")


def first_input(layer: nn.Module, call: Any) -> tuple[int, ...]:
    """The shape of what reaches a layer during a call; it must be reached once."""
    seen: list[tuple[int, ...]] = []
    hook = layer.register_forward_pre_hook(lambda m, args: seen.append(tuple(args[0].shape)))
    call()
    hook.remove()
    assert len(seen) == 1
    return seen[0]


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("residual", "0", "2.conv1"), ("late input", "a", "b"), ("stem shortcut", "stem", "conv")],
)
def test_the_stem_runs_once_and_the_body_at_every_step(name: str, first: str, second: str) -> None:
    snn_, net = spiking(name)[1], BY_NAME[name]
    for layer, rows in ((first, 3), (second, 15)):
        module = snn_.net.get_submodule(layer)
        shape = first_input(module, lambda: snn_(*net.inputs(3), num_steps=5))
        assert shape[0] == rows


def test_all_layers_of_a_stem_run_once() -> None:
    ann = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.AvgPool2d(2), nn.Conv2d(2, 2, 1), ecl.ThresholdClip(4, 1.0), head(2)
    )
    snn_ = ecl.convert(ann)
    for name in ("0", "1", "2"):
        module = snn_.net.get_submodule(name)
        assert first_input(module, lambda: snn_(torch.rand(2, 1, 6, 6), num_steps=7))[0] == 2


def test_a_changing_input_reaches_the_stem_at_every_step() -> None:
    snn_, net = spiking("residual")[1], BY_NAME["residual"]
    frames = torch.stack([net.inputs(2, seed=s)[0] for s in range(3)])
    assert first_input(snn_.net.get_submodule("0"), lambda: snn_.forward_steps(frames))[0] == 6


def test_a_held_shortcut_is_added_image_by_image() -> None:
    """Two different images whose shortcut joins after the neuron: the layout must be time-major."""
    ann = wired(lambda m, x: m.relu(x) * 0 + x, relu=ecl.ThresholdClip(4, 1.0))
    x = torch.tensor([[1.0], [-2.0], [3.0]])
    assert ecl.convert(ann).logits_over_time(x, num_steps=2).tolist() == [x.tolist()] * 2


def test_an_output_that_no_neuron_reaches_is_held_too() -> None:
    snn_, net = spiking("two outputs")[1], BY_NAME["two outputs"]
    ann = spiking("two outputs")[0]
    _, plain = snn_.logits_over_time(*net.inputs(), num_steps=4)
    assert torch.allclose(plain, outputs(ann, net.inputs())[1].expand(4, -1, -1), atol=1e-6)


def test_layers_may_be_called_with_keywords() -> None:
    ann = wired(
        lambda m, x: m.fc(input=m.drop(input=m.pool(input=m.relu(input=x)))).flatten(1),
        relu=nn.ReLU(), pool=nn.MaxPool1d(2), drop=nn.Dropout(), fc=nn.Linear(2, 2),
    ).eval()  # fmt: skip
    ann = ecl.prepare(ann)
    set_thresholds(ann, torch.rand(3, 2, 4))
    assert ecl.convert(ann)(torch.rand(3, 2, 4), num_steps=2).shape == (3, 4)


def test_a_parameter_expanded_to_the_batch_is_expanded_at_every_step() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.fc(torch.cat([m.relu(x), m.token.expand(x.shape[0], -1)], 1))

    token = nn.Parameter(torch.ones(1, 4))
    ann = wired(forward, relu=ecl.ThresholdClip(4, 1.0), token=token, fc=nn.Linear(8, 2))
    assert ecl.convert(ann)(torch.rand(3, 4), num_steps=4).shape == (3, 2)
