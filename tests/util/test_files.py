"""Files are written whole or not at all."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from snntorch_ecl._util.files import replacing


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x"
    with replacing(path) as part:
        part.write_text("old")
    with replacing(path) as part:
        part.write_text("ne")
        assert path.read_text() == "old"
        part.write_text("new")
    assert path.read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["x"]


def test_a_block_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_block_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(OSError, match="No such file"), replacing(path):
        pass
    assert path.read_text() == "old"


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    dead = int(done.stdout)
    kept = [f".x.{os.getppid()}.1.part", f".y.{dead}.1.part", ".x.part", ".x.a.b.part", ".x.9.part"]
    left = [f".x.{dead}.1.part", f".x.{os.getpid()}.1.part"]  # a container's are all of one number
    for name in (*kept, *left):
        (tmp_path / name).touch()
    with replacing(tmp_path / "x") as part:
        part.touch()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*kept, "x"])


def test_threads_that_write_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "x"
    begun = threading.Barrier(2)

    def write(text: str) -> None:
        with replacing(path) as part, part.open("w") as file:
            begun.wait()
            file.write(text * 1000)
            begun.wait()

    threads = [threading.Thread(target=write, args=(text,)) for text in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in ("a" * 1000, "b" * 1000)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
