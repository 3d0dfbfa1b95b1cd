"""Each operation on a batch equals Pillow's or torchvision's on one image."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torchvision.transforms import functional as tv

from snntorch_ecl.training._augment import COLOUR, OPERATIONS, affine, recolour

STRENGTHS = torch.tensor([-0.7, 0.0, 0.5, 1.0])


def pictures() -> Tensor:
    """Noisy pictures of few and of many values; the last has one colour."""
    torch.manual_seed(0)
    coarse = torch.rand(4, 3, 5, 5) * torch.tensor([255.0, 120, 200, 255]).view(4, 1, 1, 1)
    images = torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic")
    images = (images + 25 * torch.randn(4, 3, 32, 32)).clamp(0, 255).round()
    images[3, :] = 77
    return images


def pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.byte().permute(1, 2, 0).numpy())


def by_pillow(name: str, image: Tensor, strength: float) -> Tensor:
    picture, factor = pillow(image), 1 + 0.9 * strength
    enhancers = {
        "brightness": ImageEnhance.Brightness,
        "colour": ImageEnhance.Color,
        "contrast": ImageEnhance.Contrast,
        "sharpness": ImageEnhance.Sharpness,
    }
    if name in enhancers:
        found = enhancers[name](picture).enhance(factor)
    elif name == "posterise":
        found = ImageOps.posterize(picture, 8 - round(4 * abs(strength)))
    elif name == "solarise":
        found = ImageOps.solarize(picture, 256 * (1 - abs(strength)))
    elif name == "autocontrast":
        found = ImageOps.autocontrast(picture)
    else:
        found = ImageOps.equalize(picture)
    return tv.pil_to_tensor(found).float()


@pytest.mark.parametrize("name", COLOUR)
def test_colours_change_as_pillow_changes_them(name: str) -> None:
    images = pictures()
    wanted = [by_pillow(name, x, float(s)) for x, s in zip(images, STRENGTHS, strict=True)]
    operation = torch.full((4,), OPERATIONS.index(name))
    found = recolour(images.clone(), operation, STRENGTHS)
    # Pillow rounds to whole values, its greys and means as well.
    most = {"posterise": 0.0, "solarise": 0.0, "equalise": 0.0, "autocontrast": 1.0}.get(name, 2.0)
    assert (found - torch.stack(wanted)).abs().max() <= most


def test_each_image_gets_its_own_operation() -> None:
    images = pictures()
    names = ("solarise", "identity", "rotate", "brightness")
    operation = torch.tensor([OPERATIONS.index(name) for name in names])
    found = recolour(images.clone(), operation, torch.tensor([1.0, 1.0, 1.0, 1.0]))
    assert torch.equal(found[0], 255 - images[0])
    assert torch.equal(found[1:3], images[1:3])
    assert torch.equal(found[3], (images[3] * 1.9).clamp(0, 255))


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        ("identity", [[1, 0, 0], [0, 1, 0]]),
        ("shear_x", [[1, 0, 0], [0.15, 1, 0]]),
        ("shear_y", [[1, 0.15, 0], [0, 1, 0]]),
        ("translate_x", [[1, 0, 0], [0, 1, 5]]),
        ("translate_y", [[1, 0, 5], [0, 1, 0]]),
        (
            "rotate",
            [
                [math.cos(math.radians(15)), math.sin(math.radians(15)), 0],
                [-math.sin(math.radians(15)), math.cos(math.radians(15)), 0],
            ],
        ),
        ("contrast", [[1, 0, 0], [0, 1, 0]]),
    ],
)
def test_geometric_operations_move_pixels_as_far_as_their_ranges_say(
    name: str, matrix: list[list[float]]
) -> None:
    found = affine(torch.tensor([OPERATIONS.index(name)]), torch.tensor([0.5]), 32)
    torch.testing.assert_close(found, torch.tensor([matrix], dtype=torch.float32))
