"""What a prepared network keeps of its example, and what its inputs must then be."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError, InputError, TraceError
from tests.helpers.examples import IMAGES, LEVELS, around, keywords, moved, unpacked
from tests.helpers.parts import close

pytestmark = pytest.mark.usefixtures("seeded_without_gradients")


@pytest.mark.parametrize(
    ("example", "text"),
    [
        ({"image": torch.rand(2, 3)}, "unknown ['image']"),
        ((torch.rand(2, 3),) * 4, "unknown ['input 3']"),
        (torch.tensor(1.0), "got [] for pixels"),
        ({"pixels": torch.rand(2, 3), "mask": torch.rand(3, 3)}, "one batch size"),
        ([[1.0]], "got list for pixels"),
    ],
)
def test_an_example_that_does_not_fit_is_named(example: Any, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ecl.prepare(keywords(), example=example)
    assert text in str(caught.value)


def test_an_example_of_wrong_sizes_is_named_with_the_line() -> None:
    with pytest.raises(TraceError) as caught:
        ecl.prepare(around(lambda x: x @ torch.rand(5, 5)), example=IMAGES)
    for part in ("test_example_kept.py:", "shapes of example=", "top level (Wired)"):
        assert part in str(caught.value)


# ---------------------------------------------------------------------------------- afterwards


def test_sizes_that_were_read_hold_for_the_network() -> None:
    other = torch.rand(2, 4, 8, 8)
    for ann in (ecl.prepare(around(unpacked), example=IMAGES),):
        for net in (ann, pickle.loads(pickle.dumps(ann)), ecl.prepare(ann)):
            assert net(IMAGES).shape == (3, 4, 6, 6)
            with pytest.raises(InputError, match=r"\['B', 4, 6, 6\], and its code has read"):
                net(other)
            with pytest.raises(InputError, match=r"Prepare it with an example of the new shape"):
                ecl.convert(net)(other, num_steps=2)


def test_sizes_that_were_not_read_may_change() -> None:
    ann = ecl.prepare(around(lambda x: x.mean((-1, -2))), example=IMAGES)
    assert ann(torch.rand(2, 4, 8, 8)).shape == (2, 4)
    with pytest.raises(InputError, match="x has shape"):
        ann(torch.rand(2, 4, 8))


def test_a_pickled_network_still_knows_its_example() -> None:
    ann = ecl.prepare(around(moved), example=IMAGES)
    snn = ecl.convert(pickle.loads(pickle.dumps(ann)))
    assert close(snn(IMAGES, num_steps=LEVELS), ann(IMAGES), 1e-5)


def test_a_network_with_an_example_is_saved_and_loaded(tmp_path: Any) -> None:
    snn = ecl.convert(around(moved), example=IMAGES)
    loaded = ecl.load(snn.save(tmp_path / "snn"), around(moved), example=IMAGES)
    assert torch.equal(loaded(IMAGES, num_steps=3), snn(IMAGES, num_steps=3))


def test_the_type_and_the_device_are_those_of_the_run() -> None:
    model = around(lambda x: x.to(x.dtype) + torch.ones(1, dtype=torch.float64).to(x))
    ann = ecl.prepare(model, example=IMAGES).double()
    assert ann(IMAGES.double()).dtype is torch.float64


def test_the_models_numbers_are_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ann = ecl.prepare(model, example=IMAGES)
    assert all(torch.equal(ann.state_dict()[n], v) for n, v in before.items())
    assert {m.training for m in ann.modules()} == {True}
