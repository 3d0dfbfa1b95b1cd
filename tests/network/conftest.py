"""For tests of compiled networks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch

from snntorch_ecl.network import _compiled


@pytest.fixture
def traced_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The compiler reads networks but makes no machine code of them, which would take longer."""
    torch.compiler.reset()
    quick = partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(
        _compiled, "compiled_whole", lambda function, mode: quick(function, fullgraph=True)
    )
    yield
    torch.compiler.reset()
