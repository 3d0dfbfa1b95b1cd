"""A network around an operation, and the same network row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import snntorch_ecl as ecl
from snntorch_ecl.errors import TraceError, UnsupportedError
from tests.helpers.parts import close, wired

LEVELS = 4  # as many steps: one layer of neurons is then exact


Operation = Callable[[Tensor], Any]


OLD_TORCH = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14)


def network(operation: Operation, rank: int, *, told: bool, **parts: Any) -> nn.Module:
    """Neurons on ``[B, 4, ...]``, then the operation; ``told``: the layers tell the rank."""
    torch.manual_seed(0)
    layer: nn.Module = nn.Linear(4, 4)
    if told:
        kinds = {2: nn.Flatten(), 3: nn.Conv1d(4, 4, 1), 4: nn.Conv2d(4, 4, 1)}
        layer = nn.Sequential(layer, kinds[rank])

    def forward(m: Any, x: Tensor) -> Any:
        return operation(m.clip(m.layer(x))) if not parts else operation(m, m.clip(m.layer(x)))

    return wired(forward, layer=layer, clip=ecl.ThresholdClip(LEVELS, 0.75), **parts).eval()


def batch(rank: int) -> Tensor:
    return torch.randn([4] * rank, generator=torch.Generator().manual_seed(1))


def row_by_row(model: nn.Module, x: Tensor) -> Any:
    rows = [model(row) for row in x.split(1)]
    return tree_map(lambda *values: torch.cat(values), *rows)


def refused(model: nn.Module, x: Tensor) -> bool:
    """Whether preparing, converting or the first run is refused; else both networks are right."""
    with torch.no_grad():
        try:
            ann = ecl.prepare(model)
            snn = ecl.convert(model)
        except UnsupportedError:
            return True
        except TraceError:
            if OLD_TORCH:  # loudly: nothing converts
                pytest.skip("this release of torch cannot record the call")
            raise
        results = [result(lambda: ann(x)), result(lambda: snn(x, num_steps=LEVELS))]
        refusals = [found is None for found in results]
        assert len(set(refusals)) == 1, "one of the two networks is refused, and the other is not"
        if any(refusals):
            return True
        expected = row_by_row(model, x)
        assert all(close(found, expected, 1e-5) for found in results)
        return False


def result(run: Callable[[], Any]) -> Any:
    try:
        return run()
    except UnsupportedError:
        return None
