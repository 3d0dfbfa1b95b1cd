"""The demo's settings, and what it refuses."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from snntorch_ecl.errors import ConfigError, DataError
from snntorch_ecl.experiments import DemoConfig, run_demo
from tests.helpers.demo import no_network


def test_the_guard_against_the_network_works() -> None:
    with no_network() as tried:
        with pytest.raises(OSError, match="no network here"):
            socket.create_connection(("example.org", 80))
        with socket.socket() as own, pytest.raises(OSError, match="no network here"):
            own.connect(("192.0.2.1", 80))
    assert tried == ["example.org", ("192.0.2.1", 80)]


# ----------------------------------------------------------------------------------- config


@pytest.mark.parametrize("num_steps", [7, 0, -1])
def test_runs_shorter_than_the_levels_are_refused(num_steps: int) -> None:
    with pytest.raises(ConfigError, match=rf"num_steps must be .*; got {num_steps}"):
        DemoConfig(num_steps=num_steps)


def test_the_table_shows_the_steps_to_use() -> None:
    assert DemoConfig(levels=3, num_steps=5).shown_steps == (1, 2, 3, 4)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        with pytest.raises(DataError, match=rf"{place} cannot be written to"):
            run_demo(DemoConfig(output_dir=tmp_path / place), progress=False)


@pytest.mark.parametrize(("quick", "epochs"), [(False, 8), (True, 1)])
def test_the_recipe_follows_the_settings(quick: bool, epochs: int) -> None:
    training = DemoConfig(quick=quick, seed=9).training
    assert (training.epochs, training.seed) == (epochs, 9)
