"""Image files from strangers: the right picture, or one error that names the file."""

from __future__ import annotations

import functools
import io
import os
import random
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from snntorch_ecl.errors import DataError
from snntorch_ecl.experiments import load_data
from snntorch_ecl.experiments._image_file import read_image
from snntorch_ecl.settings import DataConfig
from tests.helpers.runs import image_folder

RAMP = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def animation() -> bytes:
    red, green = (Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0)))
    return saved(red, "GIF", save_all=True, append_images=[green])


def palette() -> bytes:
    image = Image.new("P", (8, 8))
    image.putpalette([255, 0, 0, 0, 255, 0])
    return saved(image, "PNG", transparency=0)


RED: dict[str, Callable[[], bytes]] = {
    "CMYK": lambda: saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"),
    "palette": palette,
    "animated": animation,
    "transparent": lambda: saved(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), "PNG"),
}


@pytest.mark.parametrize("kind", RED)
def test_kinds_of_colour(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "red"
    path.write_bytes(RED[kind]())
    image = read_image(path)
    assert (image.mode, image.getpixel((3, 3))) == ("RGB", (255, 0, 0))


GREY: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: saved(Image.fromarray(RAMP), "PNG"),
    "TIFF": lambda: saved(Image.fromarray(RAMP), "TIFF"),
    "TIFF of 32 bits": lambda: saved(Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
    "PGM": lambda: b"P5 8 8 65535\n" + RAMP.astype(">u2").tobytes(),
}


@pytest.mark.parametrize("kind", GREY)
def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "grey"
    path.write_bytes(GREY[kind]())
    found = np.asarray(read_image(path))[..., 0].astype(float)
    assert np.abs(found - RAMP / 257).max() < 1


def claiming(width: int, height: int) -> bytes:
    """A PNG of one pixel whose header says it is larger."""
    pixel = saved(Image.new("1", (1, 1)), "PNG")
    header = b"IHDR" + struct.pack(">II", width, height) + pixel[24:29]
    return pixel[:12] + header + struct.pack(">I", zlib.crc32(header)) + pixel[33:]


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "cannot identify"),
    "a long strip": (lambda: saved(Image.new("1", (1, 60_000)), "PNG"), "1 x 60000 pixels"),
    "a bomb": (lambda: claiming(20_000, 20_000), "decompression bomb"),
    "no scale": (lambda: saved(Image.fromarray(RAMP / 1.0), "TIFF"), "scale is not known"),
    "32 bits": (lambda: saved(Image.fromarray(RAMP.astype(np.int32) * 9), "TIFF"), "than 16 bits"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    make, message = REFUSED[kind]
    path = tmp_path / "stranger.png"
    path.write_bytes(make())
    with pytest.raises(DataError, match=rf"stranger\.png is not a readable image .*{message}"):
        read_image(path)


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    for name in ("pipe", "zero", "dangling"):
        with pytest.raises(DataError, match=f"{name}.png .*it is not a file"):
            read_image(tmp_path / f"{name}.png")


# ---------------------------------------------------------------------------- symbolic links


def settings_of(root: Path) -> DataConfig:
    return DataConfig(name="folder", root=str(root), image_size=8, crop_padding=0, flip=False)


def test_links_that_lead_elsewhere_are_followed(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "images", train=3, test=2)
    (root / "train" / "red").rename(tmp_path / "store")
    (root / "train" / "red").symlink_to(tmp_path / "store")
    assert len(load_data(settings_of(root))[0].train) == 6


@pytest.mark.parametrize("target", ["..", "../blue", "."])
def test_a_folder_that_is_reached_twice_is_named(tmp_path: Path, target: str) -> None:
    root = image_folder(tmp_path, train=1, test=1)
    for name in ("a", "b"):  # two circles would double the images with each step
        (root / "train" / "red" / name).symlink_to(target)
    with pytest.raises(DataError, match=r"red.* is the same folder as .*through a symbolic link"):
        load_data(settings_of(root))


# --------------------------------------------------------------------------------- at random


@functools.cache
def originals() -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    kinds = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "PPM", "WEBP")
    return {kind: saved(image, kind) for kind in kinds} | {"grey": GREY["PNG"]()}


def assert_picture_or_one_error(folder: Path, kind: str, draw: random.Random) -> None:
    """Change some bytes or cut the file; it is a picture in colour, or one error with its name."""
    data = bytearray(originals()[kind])
    for _ in range(draw.randrange(4)):
        data[draw.randrange(min(len(data), draw.choice([30, 10**6])))] = draw.randrange(256)
    path = folder / "stranger"
    path.write_bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on what it mends
            assert read_image(path).mode == "RGB"
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017 - most files are refused


FUZZED = {"suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=150, **FUZZED)
@given(kind=st.sampled_from(sorted(originals())), draw=st.randoms(use_true_random=False))
def test_a_damaged_image_is_a_picture_or_one_error(
    tmp_path: Path, kind: str, draw: random.Random
) -> None:
    assert_picture_or_one_error(tmp_path, kind, draw)


@pytest.mark.slow
@settings(max_examples=20_000, **FUZZED)
@given(kind=st.sampled_from(sorted(originals())), seed=st.integers(0, 2**32))
def test_many_damaged_images_are_pictures_or_one_error(
    tmp_path: Path, kind: str, seed: int
) -> None:
    assert_picture_or_one_error(tmp_path, kind, random.Random(seed))
