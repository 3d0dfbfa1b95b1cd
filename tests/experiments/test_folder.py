"""The folder of a run: one at a time, nothing left behind, nothing overwritten."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from snntorch_ecl.errors import ConfigError, DataError
from snntorch_ecl.experiments._folder import check_same, own_folder, run_folder
from snntorch_ecl.settings import ExperimentConfig

from ..helpers.forked import start
from ..helpers.kills import hold


def resumed(folder: Path, **settings: Any) -> AbstractContextManager[None]:
    return run_folder(folder, ExperimentConfig(**settings), resume=True)


def test_a_folder_is_made_and_left_with_what_was_written(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    with own_folder(place):
        (place / "x").touch()
    assert [path.name for path in place.iterdir()] == ["x"]


def test_a_folder_made_for_nothing_is_removed(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="holds no run to resume"),
        run_folder(tmp_path / "x", ExperimentConfig(), resume=True),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_is_no_folder(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(DataError, match=f"{place} cannot be written to"),
        own_folder(tmp_path / place),
    ):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_a_second_run_is_told_who_is_there(tmp_path: Path) -> None:
    with (
        own_folder(tmp_path),
        pytest.raises(
            ConfigError, match=rf"another run is at work in .*\(process {os.getpid()} on .*wait"
        ),
        own_folder(tmp_path),
    ):
        pass
    with own_folder(tmp_path):
        pass


def test_a_run_that_is_killed_leaves_the_folder_free(tmp_path: Path) -> None:
    inside, told = multiprocessing.Pipe()
    holder = start(hold, tmp_path, told)
    assert inside.recv() is None
    part = tmp_path / f".last.ckpt.{holder.pid}.1.part"
    part.touch()
    mine = tmp_path / f".x.json.{os.getppid()}.1.part"  # of a process that lives
    mine.touch()
    with pytest.raises(ConfigError, match=f"process {holder.pid} on"), own_folder(tmp_path):
        pass
    holder.kill()
    holder.join()
    with own_folder(tmp_path):
        assert not part.exists()
    assert [path.name for path in tmp_path.iterdir()] == [mine.name]


def test_a_forked_process_does_not_keep_the_folder_of_a_killed_run(tmp_path: Path) -> None:
    """Loaders of data are forked, and outlive a run that is killed for some seconds."""
    inside, told = multiprocessing.Pipe()
    holder = start(hold, tmp_path, told, True)
    child = inside.recv()
    try:
        holder.kill()
        holder.join()
        assert holder.exitcode == -signal.SIGKILL
        with own_folder(tmp_path):  # no ConfigError: nobody holds it
            os.kill(child, 0)  # no ProcessLookupError: it lives on
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(file: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("snntorch_ecl._util.locks._lock", fails)
    with pytest.warns(UserWarning, match="has no locks"), own_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "words"), [(28, "Make room there"), (30, "Choose a folder that you may write to")]
)
def test_an_error_of_the_system_has_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def fails(**options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("snntorch_ecl.experiments._folder.TemporaryFile", fails)
    with (
        pytest.raises(DataError, match=rf"cannot be written to: .*\. {words}"),
        own_folder(tmp_path),
    ):
        pass


def test_a_run_killed_before_its_first_checkpoint_goes_on_from_the_start(tmp_path: Path) -> None:
    with run_folder(tmp_path, ExperimentConfig(), resume=False):
        pass
    with run_folder(tmp_path, ExperimentConfig(), resume=True):
        pass
    with (
        pytest.raises(ConfigError, match="levels was 4, now 8"),
        run_folder(tmp_path, ExperimentConfig(levels=8), resume=True),
    ):
        pass


def test_a_setting_that_did_not_exist_has_to_be_told(tmp_path: Path) -> None:
    """Today's default need not be what the run did."""
    file = tmp_path / "config.json"
    before = ExperimentConfig().to_dict()
    check_same(before, ExperimentConfig(), file)
    del before["train"]["compile"]
    with pytest.raises(ConfigError, match=r"without the settings train\.compile \(now False\)"):
        check_same(before, ExperimentConfig(), file)


def test_a_setting_that_is_gone_differs(tmp_path: Path) -> None:
    before = {**ExperimentConfig().to_dict(), "warmup": 3}
    with pytest.raises(ConfigError, match="warmup was 3, now None"):
        check_same(before, ExperimentConfig(), tmp_path / "config.json")
