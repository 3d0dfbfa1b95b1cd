"""Images on the device: what an image becomes, and on what that depends."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from snntorch_ecl.errors import ConfigError, DataError
from snntorch_ecl.training import DeviceImages

SIZE = 12


def pixels(count: int = 40) -> Tensor:
    """Each pixel says where it stands: image, row and column."""
    image = torch.arange(count).view(-1, 1, 1).expand(-1, SIZE, SIZE)
    row = torch.arange(SIZE).view(1, -1, 1).expand(count, -1, SIZE)
    column = torch.arange(SIZE).view(1, 1, -1).expand(count, SIZE, -1)
    return (torch.stack([image, row, column], 1) + 1).byte()


def data(count: int = 40, **settings: object) -> DeviceImages:
    plain = {"mean": (0, 0, 0), "std": (1 / 255,) * 3, "crop_padding": 0, "flip": False}
    return DeviceImages(pixels(count), torch.arange(count), **{**plain, **settings})  # type: ignore[arg-type]


def epoch(images: DeviceImages, number: int = 0, batch_size: int = 40) -> tuple[Tensor, Tensor]:
    batches = list(images.epoch(number, batch_size))
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def test_an_epoch_holds_each_image_once_with_its_label() -> None:
    found, labels = epoch(data())
    assert sorted(labels.tolist()) == list(range(40))
    assert torch.equal(found, pixels()[labels].float())
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_what_fills_no_batch_is_left_out_of_an_epoch_but_not_of_a_measurement() -> None:
    assert [len(y) for _, y in data().epoch(0, 15)] == [15, 15]
    found = list(data().plain(15))
    assert [len(y) for _, y in found] == [15, 15, 10]
    assert torch.equal(torch.cat([x for x, _ in found]), pixels().float())


def test_order_and_variation_depend_on_seed_and_epoch_alone() -> None:
    varied = {"crop_padding": 4, "flip": True, "trivial_augment": True, "cutout": 3}
    first, order = epoch(data(seed=3, **varied), 5)
    torch.rand(9)
    again, same = epoch(data(seed=3, **varied), 5, batch_size=8)
    assert torch.equal(first, again)
    assert torch.equal(order, same)
    for seed, number in ((3, 6), (4, 5)):
        other, permuted = epoch(data(seed=seed, **varied), number)
        assert not torch.equal(order, permuted)
        assert not torch.equal(first[order.argsort()], other[permuted.argsort()])


def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    epoch(data(crop_padding=2))
    assert torch.equal(torch.rand(3), expected)


def test_crops_and_flips_move_whole_images_and_fill_with_black() -> None:
    found, labels = epoch(data(400 // 2, crop_padding=2, flip=True), batch_size=200)
    seen = set()
    for image, label in zip(found, labels, strict=True):
        source = torch.nn.functional.pad(pixels(200)[int(label)].float(), (2, 2, 2, 2))
        for down in range(5):
            for right in range(5):
                window = source[:, down : down + SIZE, right : right + SIZE]
                for flipped in (False, True):
                    if torch.equal(image, window.flip(2) if flipped else window):
                        seen.add((down, right, flipped))
                        break
    assert len(seen) > 40  # of 50: every shift occurs
    inside = (found[:, 0] == labels.view(-1, 1, 1) + 1).float().mean()
    assert inside > 0.7


def test_cutout_blanks_a_square_that_may_reach_beyond_the_border() -> None:
    found, _ = epoch(data(200, cutout=5, mean=(0.5, 0.5, 0.5)), batch_size=200)
    blank = (found == 0).all(1)
    sizes = blank.sum((1, 2))
    assert sizes.max() == 25
    assert sizes.min() < 25
    assert int((sizes > 0).sum()) == 200
    rows, columns = blank.any(2).sum(1), blank.any(1).sum(1)
    assert torch.equal(rows * columns, sizes)
    for border in (0, -1):  # at either end a square can be cut
        assert bool((blank.any(2)[:, border] & (rows < 5)).any())
        assert bool((blank.any(1)[:, border] & (columns < 5)).any())


def test_images_are_normalised_channel_by_channel() -> None:
    found, labels = epoch(data(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1.0)))
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.25, 1.0])
    wanted = (pixels()[labels] / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("images", "labels", "settings", "error", "text"),
    [
        (pixels().float(), torch.arange(40), {}, DataError, "uint8"),
        (pixels()[:, :1], torch.arange(40), {}, DataError, r"\[40, 1, 12, 12\]"),
        (pixels(), torch.arange(39), {}, DataError, r"shape \[40\]"),
        (pixels(), torch.rand(40), {}, DataError, "class numbers"),
        (pixels(), torch.arange(40), {"cutout": 12}, ConfigError, "less than 12"),
        (pixels(), torch.arange(40), {"crop_padding": -1}, ConfigError, "crop_padding"),
        (pixels(), torch.arange(40), {"std": (1, 1, 0)}, ConfigError, "std > 0"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    images: Tensor, labels: Tensor, settings: dict[str, object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        DeviceImages(images, labels, **settings)  # type: ignore[arg-type]


def test_fewer_images_than_a_batch_are_refused() -> None:
    with pytest.raises(DataError, match="40 images, fewer than batch_size=41"):
        next(data().epoch(0, 41))
