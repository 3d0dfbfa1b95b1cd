"""Images, and a run on them, that tests of experiments share."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest

from snntorch_ecl._util._picture import Picture
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


@pytest.fixture(scope="module")
def quick_pictures() -> Iterator[None]:
    """Every run draws a picture: here its parts are not moved apart, and letters stay letters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Picture, "get_layout_engine", lambda self: None)
        patch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
        yield
