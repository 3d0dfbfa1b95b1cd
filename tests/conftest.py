"""For all tests: one thread, as their tensors are small and more would only wait for each other.

What needs torch loads it late: the process that hands out the tests can do without.
"""

# ruff: noqa: E402

import gc
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before torch is loaded, and for every process that a test starts.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # both cores run tests already

# All that is loaded stays: Python need not look through it, for a second each time, for garbage.
gc.disable()

import pytest
from hypothesis import settings

from tests.helpers import memory

# The machine may be busy: a slow example is no failure.
settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Give memory back, each time a worker has grown by 64 MB."""
    yield
    if memory.own() > memory.after_last + 2**26:
        memory.give_back()


@pytest.fixture(scope="module")
def quick_pictures() -> Iterator[None]:
    """Every run draws a picture: here only the first with its labels, without much layout."""
    import matplotlib

    from snntorch_ecl._util._picture import Picture

    def savefig(self: Picture, file: Any, **options: Any) -> None:
        labels = (self.get_suptitle(), *(a.get_xlabel() + "/" + a.get_ylabel() for a in self.axes))
        if labels not in _pictures:
            buffer = io.BytesIO()
            draw(self, buffer, **options)
            _pictures[labels] = buffer.getvalue()
        Path(file).write_bytes(_pictures[labels])

    draw = Picture.savefig
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Picture, "savefig", savefig)
        patch.setattr(Picture, "get_layout_engine", lambda self: None)
        patch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
        yield


_pictures: dict[tuple[str, ...], bytes] = {}


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which nothing can be compiled."""
    from snntorch_ecl._util import compiler

    def fails(*args: object) -> None:
        raise RuntimeError("no C++ compiler\nat all")

    monkeypatch.setattr(compiler, "compiled", lambda function: fails)
    compiler.works_on.cache_clear()
    yield
    compiler.works_on.cache_clear()


@pytest.fixture
def clean_registry() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    from snntorch_ecl.graph._registry import _TABLE

    before = dict(_TABLE)
    yield
    _TABLE.clear()
    _TABLE.update(before)


@pytest.fixture
def all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every correction, however it is judged, to look at what it does."""
    monkeypatch.setattr("snntorch_ecl.conversion._layer_by_layer.closer", lambda *errors: True)


@pytest.fixture
def seeded() -> None:
    """Equal weights in every test."""
    import torch

    torch.manual_seed(0)


@pytest.fixture
def seeded_without_gradients() -> Iterator[None]:
    """Equal weights in every test, and nothing recorded."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        yield
