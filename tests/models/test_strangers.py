"""Network files from strangers: a right result, or one short error that names the file."""

from __future__ import annotations

import functools
import json
import random
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

import snntorch_ecl as ecl
from snntorch_ecl import models
from snntorch_ecl.errors import CheckpointError, ConfigError
from snntorch_ecl.models import load_ann, load_pretrained

SHIPPED = Path(models.__file__).parent / "pretrained"
FILES = {
    "ann": SHIPPED / "digitnet-digits-l4.safetensors",
    "snn": SHIPPED / "spiking" / "digitnet-digits-l4-t2.safetensors",
}
Contents = tuple[dict[str, Tensor], dict[str, str]]


@functools.cache
def contents(kind: str) -> Contents:
    with safe_open(FILES[kind], framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata())  # noqa: SIM118


@functools.cache
def ann() -> torch.nn.Module:
    return load_pretrained("digitnet-digits-l4").ann


def load(kind: str, path: Path) -> object:
    return load_ann(path).ann if kind == "ann" else ecl.load(path, ann())


# ------------------------------------------------------------------------------- by hand


def with_settings(name: str, value: Any, kind: str = "ann", *inner: str) -> bytes:
    """A shipped file with one of its settings changed."""
    tensors, metadata = contents(kind)
    if inner:
        whole = json.loads(metadata[name])
        place = functools.reduce(lambda at, key: at[key], inner[:-1], whole)
        place[inner[-1]] = value
        value = whole
    return save(tensors, {**metadata, name: value if isinstance(value, str) else json.dumps(value)})


def with_tensor(name: str, change: Callable[[Tensor], Tensor], kind: str = "ann") -> bytes:
    tensors, metadata = contents(kind)
    return save({**tensors, name: change(tensors[name])}, metadata)


def of_many_tensors(count: int) -> bytes:
    """So many empty tensors, as the format allows."""
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = {"__metadata__": contents("ann")[1], **{f"t{i}": empty for i in range(count)}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


STRANGE: Mapping[str, tuple[str, Callable[[], bytes], str]] = {
    "classes: a number": ("ann", lambda: with_settings("classes", 3), "classes in .* damaged: 3"),
    "classes: a text": ("ann", lambda: with_settings("classes", '"digits"'), "'digits'"),
    "classes: numbers": ("ann", lambda: with_settings("classes", [1] * 10), "damaged"),
    "classes: a million": (
        "ann", lambda: with_settings("classes", ["x"] * 10**6),
        "1000000 classes has 33,025,580 weights, the file 26,194",
    ),
    "a network larger than the file": (
        "ann", lambda: with_settings("config", "torchvision/vgg16", "ann", "model"),
        "vgg16 with 10 classes has 134,301,514 weights, the file 26,194",
    ),
    "a recipe that is not there": (
        "ann", lambda: with_settings("config", "lenet", "ann", "model"), "no network 'lenet'",
    ),
    "figures: a list": ("ann", lambda: with_settings("figures", []), "figures in .* damaged"),
    "too deep": ("ann", lambda: with_settings("config", "[" * 100_000), "damaged: its config"),
    "too deep, spiking": (
        "snn", lambda: with_settings("settings", "[" * 100_000, "snn"), "damaged: its settings",
    ),
    "a long format": ("ann", lambda: with_settings("format", "x" * 10**6), "not written by"),
    "enormous corrections": (
        "snn", lambda: with_settings("settings", {"x": [10**6, 10**6]}, "snn", "step_biases"),
        "larger than the file",
    ),
    "whole numbers": ("ann", lambda: with_tensor("fc.weight", Tensor.long), "type torch.int64"),
    "complex numbers": (
        "snn", lambda: with_tensor("net.fc.weight", lambda w: w + 0j, "snn"), "torch.complex64",
    ),
    "NaN": (
        "snn", lambda: with_tensor("net.fc.weight", lambda w: w * torch.nan, "snn"),
        "net.fc.weight holds 320 values that are NaN",
    ),
    "too many tensors": ("ann", lambda: of_many_tensors(50_001), "holds 50,001 tensors"),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_file_is_one_short_error_that_names_it(tmp_path: Path, name: str) -> None:
    kind, make, message = STRANGE[name]
    path = tmp_path / "stranger.safetensors"
    path.write_bytes(make())
    with pytest.raises(CheckpointError, match=message) as caught:
        load(kind, path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.slow
def test_a_million_tensors_take_bounded_time(tmp_path: Path) -> None:
    path = tmp_path / "stranger.safetensors"
    path.write_bytes(of_many_tensors(10**6))
    with pytest.raises(CheckpointError, match="holds 1,000,000 tensors"):
        load_ann(path)


def test_half_precision_is_read(tmp_path: Path) -> None:
    path = tmp_path / "stranger.safetensors"
    path.write_bytes(with_tensor("fc.weight", Tensor.half))
    assert load_ann(path).ann.fc.weight.dtype is torch.float32


@pytest.mark.parametrize("path", [None, 3, torch.nn.ReLU()])
def test_what_is_no_path_is_named(path: Any) -> None:
    for call in (lambda: load_ann(path), lambda: ecl.load(path, ann())):
        with pytest.raises(ConfigError, match=r"load.*\(path.*path must name a file; got "):
            call()


# ---------------------------------------------------------------------------------- at random

NUMBERS = (True, 0, -1, 3, 10**9, 10**30, 1.5, float("nan"))
VALUES = (*NUMBERS, None, "", "x", "\0", [], [1], {}, {"a": 1})
TEXTS = ("", "{", "[]", "{}", "null", "1", '"x"', "[1,2", "NaN", "[" * 5000, "1" * 5000)
DTYPES = (torch.int64, torch.bool, torch.float16, torch.float64, torch.uint8, torch.complex64)


def with_other_value(draw: random.Random, value: Any) -> Any:
    """Plain data of which one part, somewhere, is missing, new or another one."""
    if not (isinstance(value, (dict, list)) and value and draw.random() < 0.8):
        return draw.choice(VALUES)
    value = value.copy()
    key = draw.choice(list(value) if isinstance(value, dict) else range(len(value)))
    if draw.random() < 0.2:
        del value[key]
    else:
        value[key] = with_other_value(draw, value[key])
    return value


def damaged(draw: random.Random, tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """The file with one thing wrong: metadata, a tensor, single bytes, or its end."""
    tensors, metadata = dict(tensors), dict(metadata)
    what = draw.choice(["text", "value", "value", "tensor", "bytes", "end"])
    if what == "text":
        metadata[draw.choice(list(metadata))] = draw.choice(TEXTS)
    if what == "value":
        name = draw.choice([name for name, text in metadata.items() if text[:1] in "{["])
        metadata[name] = json.dumps(with_other_value(draw, json.loads(metadata[name])))
    if what == "tensor":
        name = draw.choice(list(tensors))
        own = tensors.pop(name)
        others = (
            lambda: own.to(draw.choice(DTYPES)), lambda: own.reshape(-1), lambda: own[None],
            lambda: torch.zeros(draw.choice([(), (0,), (1,), (3, 3)])), lambda: -own,
        )  # fmt: skip
        if draw.random() < 0.8:
            tensors[draw.choice([name, name, "other"])] = draw.choice(others)()
    data = bytearray(save(tensors, metadata))
    if what == "bytes":
        for _ in range(draw.randrange(1, 5)):
            data[draw.randrange(min(len(data), draw.choice([9, 3000, 10**9])))] = draw.randrange(
                256
            )
    ends = [0, 7, 8, 9, draw.randrange(3000), draw.randrange(len(data)), len(data) - 1]
    return bytes(data[: draw.choice(ends)] if what == "end" else data)


def assert_right_or_one_error(folder: Path, kind: str, draw: random.Random) -> None:
    """Load a damaged file: a network whose weights are the file's, or one short error."""
    path = folder / "stranger.safetensors"
    path.write_bytes(damaged(draw, *contents(kind)))
    try:
        network: Any = load(kind, path)
    except CheckpointError as error:
        assert str(path) in str(error)  # noqa: PT017 - most files are refused
        assert len(str(error)) < 1000  # noqa: PT017
        return
    with safe_open(path, framework="pt") as file:
        for name, own in network.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue  # torch does without, as networks of old releases do
            found = file.get_tensor(name)
            assert found.is_floating_point() == own.is_floating_point()
            found = found.to(own.dtype).reshape(own.shape)  # torch takes [1] for a scalar
            assert torch.equal(found, own) or name.endswith("raw_threshold")


FUZZED = {"suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=30, **FUZZED)
@given(kind=st.sampled_from(sorted(FILES)), draw=st.randoms(use_true_random=False))
def test_a_damaged_file_is_right_or_one_error(
    tmp_path: Path, kind: str, draw: random.Random
) -> None:
    assert_right_or_one_error(tmp_path, kind, draw)


@pytest.mark.slow
@settings(max_examples=3000, **FUZZED)
@given(kind=st.sampled_from(sorted(FILES)), seed=st.integers(0, 2**32))
def test_many_damaged_files_are_right_or_one_error(tmp_path: Path, kind: str, seed: int) -> None:
    assert_right_or_one_error(tmp_path, kind, random.Random(seed))
