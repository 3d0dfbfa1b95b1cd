"""Files that are damaged, foreign or of another network are named, and harm nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import ThresholdClip
from snntorch_ecl.errors import CheckpointError
from tests.helpers.refusals import NAN, assert_refuses, network, small


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return network().save(tmp_path / "net.safetensors")


def contents(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return {k: opened.get_tensor(k) for k in opened.keys()}, dict(opened.metadata())  # noqa: SIM118


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no.safetensors"
    assert_refuses(
        lambda: ecl.load(path, small()), CheckpointError, RuntimeError, f"no file {path}"
    )


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file_is_damaged(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])
    assert_refuses(
        lambda: ecl.load(file, small()), CheckpointError, RuntimeError, str(file), "damaged"
    )


def test_a_file_of_another_kind_is_damaged(file: Path) -> None:
    torch.save(small().state_dict(), file)
    assert_refuses(
        lambda: ecl.load(file, small()), CheckpointError, RuntimeError, str(file), "damaged"
    )


def test_a_foreign_safetensors_file_is_told_apart(file: Path) -> None:
    save_file(small().state_dict(), file)
    assert_refuses(
        lambda: ecl.load(file, small()),
        CheckpointError,
        RuntimeError,
        str(file),
        "not written by SpikingNetwork.save",
        "None",
    )


def test_a_newer_version_asks_for_an_update(file: Path) -> None:
    tensors, metadata = contents(file)
    save_file(tensors, file, {**metadata, "format_version": "2"})
    assert_refuses(
        lambda: ecl.load(file, small()),
        CheckpointError,
        RuntimeError,
        str(file),
        "format version 2",
        "Update snntorch-ecl",
    )


def spoil(settings: dict[str, Any], *path: Any, value: Any = None, drop: bool = False) -> Any:
    inner: Any = settings
    for key in path[:-1]:
        inner = inner[key]
    if drop:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return settings


DAMAGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a list": lambda s: [1],
    "empty": lambda s: {},
    "layers: a number": lambda s: spoil(s, "layers", value=3),
    "layers: numbers": lambda s: spoil(s, "layers", value=[1]),
    "layer without levels": lambda s: spoil(s, "layers", 0, "levels", drop=True),
    "layer with a color": lambda s: spoil(s, "layers", 0, "color", value=1),
    "neurons: a number": lambda s: spoil(s, "neurons", value=3),
    "neurons: a list": lambda s: spoil(s, "neurons", value=["1"]),
    "a neuron too few": lambda s: spoil(s, "neurons", "1", drop=True),
    "neuron: a number": lambda s: spoil(s, "neurons", "1", value=3),
    "threshold: a word": lambda s: spoil(s, "neurons", "1", "negative_threshold", value="low"),
    "threshold: positive": lambda s: spoil(s, "neurons", "1", "negative_threshold", value=1.0),
    "membrane: NaN": lambda s: spoil(s, "neurons", "1", "initial_membrane", value=NAN),
    "another setting": lambda s: spoil(s, "neurons", "1", "forward", value=1.0),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_damaged_settings_are_noticed(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    tensors, metadata = contents(file)
    settings = change(json.loads(metadata["settings"]))
    save_file(tensors, file, {**metadata, "settings": json.dumps(settings)})
    assert_refuses(lambda: ecl.load(file, small()), CheckpointError, RuntimeError, str(file))


def test_settings_that_are_no_json_are_noticed(file: Path) -> None:
    tensors, metadata = contents(file)
    save_file(tensors, file, {**metadata, "settings": "{"})
    assert_refuses(
        lambda: ecl.load(file, small()), CheckpointError, RuntimeError, str(file), "damaged"
    )


def test_a_file_of_a_network_with_other_layers_is_refused(file: Path) -> None:
    other = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.ReLU(), nn.Linear(4, 2))
    assert_refuses(
        lambda: ecl.load(file, other),
        CheckpointError,
        RuntimeError,
        str(file),
        "another network",
        "['1']",
        "['1', '2']",
    )


def test_a_file_of_a_network_with_other_shapes_is_refused(file: Path) -> None:
    other = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    assert_refuses(
        lambda: ecl.load(file, other),
        CheckpointError,
        RuntimeError,
        str(file),
        "does not fit Sequential",
        "0.weight",
    )


def test_a_model_that_does_not_convert_is_told_apart(file: Path) -> None:
    other = nn.Sequential(nn.Linear(4, 4), ThresholdClip(), nn.Hardshrink())
    assert_refuses(
        lambda: ecl.load(file, other), CheckpointError, RuntimeError, str(file), "2 (Hardshrink)"
    )


@pytest.mark.parametrize("value", [NAN, 0.0, -1.0])
def test_a_bad_threshold_in_a_file_is_refused(file: Path, value: float) -> None:
    tensors, metadata = contents(file)
    tensors["net.1.threshold"].fill_(value)
    save_file(tensors, file, metadata)
    assert_refuses(
        lambda: ecl.load(file, small()),
        CheckpointError,
        RuntimeError,
        str(file),
        "net.1.threshold",
        f"{value:g}",
    )


def test_a_name_that_promises_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    wanted = str(tmp_path / "net.safetensors")
    assert_refuses(lambda: network().save(path), CheckpointError, RuntimeError, ".pt", wanted)
    assert list(tmp_path.iterdir()) == []


def test_saving_to_an_impossible_path_is_an_error_with_the_path(file: Path) -> None:
    path = file / "inside" / "net.safetensors"
    assert_refuses(
        lambda: network().save(path), CheckpointError, RuntimeError, str(path), "cannot be written"
    )
    folder = file.parent / "folder"
    folder.mkdir()
    assert_refuses(lambda: network().save(folder), CheckpointError, RuntimeError, str(folder))
    assert sorted(p.name for p in file.parent.iterdir()) == ["folder", "net.safetensors"]


@pytest.mark.parametrize("where", ["write_bytes", "replace"])
def test_a_failed_save_leaves_the_old_file_and_no_part_of_a_new_one(
    file: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before = file.read_bytes()
    original = getattr(Path, where)

    def full(self: Path, argument: Any) -> None:
        if where == "write_bytes":
            original(self, argument[:10])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, where, full)
    assert_refuses(
        lambda: ecl.convert(small(2.0)).save(file),
        CheckpointError,
        RuntimeError,
        str(file),
        "no space left",
    )
    monkeypatch.undo()
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
