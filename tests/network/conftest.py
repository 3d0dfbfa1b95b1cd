"""For tests of compiled networks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch

from snntorch_ecl import SpikingNetwork
from snntorch_ecl.functional import _fused
from snntorch_ecl.network import _compiled
from tests.helpers.compiled import network


@pytest.fixture(scope="module")
def traced_only() -> Iterator[None]:
    """The compiler reads networks but makes no machine code of them, which would take longer."""
    torch.compiler.reset()
    _fused._loop.cache_clear()
    quick = partial(torch.compile, backend="eager", fullgraph=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_compiled, "compiled_whole", lambda function, mode: quick(function))
        patch.setattr(_fused, "compiled", partial(quick, dynamic=True))
        yield
    torch.compiler.reset()
    _fused._loop.cache_clear()


@pytest.fixture(scope="module")
def traced(traced_only: None) -> SpikingNetwork:
    """A network for all tests that only run it, for two steps."""
    return network().compile(progress=False)
