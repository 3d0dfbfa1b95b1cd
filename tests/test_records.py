"""What is written beside a figure."""

import json
import resource
from pathlib import Path

import pytest

from snntorch_ecl.errors import DataError
from snntorch_ecl.records import settings_of_this_run, write_json


def test_it_makes_the_folder_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a" / "b" / "x.json", {"θ": [1, None]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"θ": [1, None]}
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_a_place_that_takes_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match=r"file/x\.json cannot be written"):
        write_json(tmp_path / "file" / "x.json", {})
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = write_json(tmp_path / "x.json", {"a": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        with pytest.raises(DataError, match=r"x\.json cannot be written"):
            write_json(path, {"a": list(range(1000))})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_versions_and_machine_are_plain_data() -> None:
    settings = settings_of_this_run()
    assert json.loads(json.dumps(settings)) == settings
    assert {"snntorch-ecl", "snntorch", "torch", "python"} <= set(settings["versions"])
    assert settings["machine"]["cores"] >= 1
