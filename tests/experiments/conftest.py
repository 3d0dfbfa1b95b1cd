"""Images, and a run on them, that tests of experiments share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from snntorch_ecl.experiments import run_training

from ..helpers import forked
from ..helpers.runs import experiment, image_folder


@pytest.fixture(scope="package", autouse=True)
def _nothing_waits_to_be_forked() -> Iterator[None]:
    """What follows needs the memory."""
    yield
    forked.stop()


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small images."""
    return image_folder(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run_training(experiment(root), folder, progress=False)
    return folder


@pytest.fixture(scope="session")
def checkpoint(whole: Path) -> Path:
    """The network that this run has trained."""
    return whole / "ann.safetensors"
