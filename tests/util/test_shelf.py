"""Tensors that wait on a shelf come back equal, and leave nothing behind."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snntorch_ecl._util import shelf as shelves
from snntorch_ecl._util.shelf import Row, Shelf, dropped, loaded
from snntorch_ecl.errors import StateError

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.bool)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.lists(st.integers(0, 4), max_size=4),
    dtype=st.sampled_from(DTYPES),
    spikes=st.booleans(),
    in_memory=st.booleans(),
    seed=st.integers(0, 100),
)
def test_what_comes_back_is_what_was_put(
    shape: list[int], dtype: torch.dtype, spikes: bool, in_memory: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randn(shape, generator=generator)
    if spikes:
        tensor = tensor.sign() * 0.37
    tensor = (tensor.T if len(shape) == 2 else tensor).to(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelves, "_IN_MEMORY", 2**20 if in_memory else 0)
        with Shelf() as shelf:
            back = shelf.put(tensor).load()
    assert back.dtype == dtype
    assert torch.equal(back, tensor)


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_come_back_too(odd: float) -> None:
    tensor = torch.tensor([[1.0, odd], [odd, 1.0], [0.0, 0.0]])
    with Shelf() as shelf:
        torch.testing.assert_close(shelf.put(tensor).load(), tensor, equal_nan=True)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shelves.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(shelves, "_IN_MEMORY", 0)
    return tmp_path


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_spikes_take_a_byte_each(folder: Path) -> None:
    spikes = torch.randint(-1, 2, (4, 3, 5)) * torch.tensor([0.3, 0.7, 1.1]).view(3, 1)
    with Shelf() as shelf:
        kept = shelf.put(spikes)
        assert size_of(folder) == spikes.numel()
        assert torch.equal(kept.load(), spikes)
        shelf.put(spikes + 0.1)
        assert size_of(folder) == 5 * spikes.numel()


def test_files_go_with_what_they_hold(folder: Path) -> None:
    with Shelf() as shelf:
        tree = shelf.put_all({"a": (torch.rand(8, 2), 3), "b": [torch.rand(4)]})
        row = Row(shelf)
        row.append((torch.rand(5, 2),))
        assert size_of(folder) == 4 * (16 + 4 + 10)
        assert loaded(tree)["a"][1] == 3
        dropped(tree)
        assert size_of(folder) == 40
        row.clear()
        assert len(row) == 0
        assert size_of(folder) == 0
        shelf.put(torch.rand(100, 2))
    assert not list(folder.iterdir())


def test_files_go_when_the_work_fails(folder: Path) -> None:
    def fail(shelf: Shelf) -> None:
        with shelf:
            shelf.put(torch.rand(100, 2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail(Shelf())
    assert not list(folder.iterdir())


def test_memory_is_used_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shelves.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(shelves, "_IN_MEMORY", 100)
    with Shelf() as shelf:
        for _ in range(5):
            shelf.put(torch.rand(20)).drop()
        assert not list(tmp_path.iterdir())
        first, second = shelf.put(torch.rand(20)), shelf.put(torch.rand(20))
        assert size_of(tmp_path) == 80
        first.drop()
        second.drop()
        assert size_of(tmp_path) == 0


def test_a_full_disk_is_named(folder: Path) -> None:
    with Shelf() as shelf:
        shelf.put(torch.rand(3))
        for file in folder.iterdir():
            file.rename(folder / "elsewhere")
        with pytest.raises(StateError, match=r"temporary file of 0 MiB cannot be written in .*"):
            shelf.put(torch.rand(3))
