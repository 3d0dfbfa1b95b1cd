"""For tests of compiled networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from snntorch_ecl import SpikingNetwork
from tests.helpers.compiled import small
from tests.helpers.compilers import only_traced


@pytest.fixture
def traced_only() -> Iterator[None]:
    """The compiler makes no machine code; what it has read is forgotten."""
    with only_traced():
        yield


@pytest.fixture(scope="module")
def traced() -> Iterator[SpikingNetwork]:
    """A network for all tests that only run it, for two steps."""
    with only_traced():
        yield small().compile(progress=False)
