"""What is written beside a figure."""

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from snntorch_ecl.errors import ConfigError, DataError
from snntorch_ecl.experiments import (
    BenchConfig,
    DemoConfig,
    SweepConfig,
    run_bench,
    run_demo,
    run_sweep,
)
from snntorch_ecl.experiments._files import versions_and_machine, write_json


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
    settings = versions_and_machine()
    assert json.loads(json.dumps(settings)) == settings
    assert {"snntorch-ecl", "snntorch", "torch", "python"} <= set(settings["versions"])
    assert settings["machine"]["cores"] >= 1


@pytest.mark.parametrize(
    ("run", "config"),
    [(run_sweep, SweepConfig()), (run_bench, BenchConfig())],
    ids=["sweep", "bench"],
)
def test_what_one_process_does_alone_is_not_done_by_each_of_several(
    run: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ConfigError, match=r"runs in one process, but 4 were started .* torchrun"):
        run(config, tmp_path)
    with pytest.raises(ConfigError, match="the demo runs in one process"):
        run_demo(DemoConfig(output_dir=tmp_path))
    assert list(tmp_path.iterdir()) == []
