"""For tests of compiled networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from snntorch_ecl import SpikingNetwork
from tests.helpers.compiled import network
from tests.helpers.compilers import only_traced


@pytest.fixture(scope="module")
def traced_only() -> Iterator[None]:
    """The compiler makes no machine code."""
    with only_traced():
        yield


@pytest.fixture(scope="module")
def traced(traced_only: None) -> SpikingNetwork:
    """A network for all tests that only run it, for two steps."""
    return network().compile(progress=False)
