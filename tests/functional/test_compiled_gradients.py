"""Compiled, a clip has its own gradients: on some releases of torch they were zero."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from snntorch_ecl.functional import threshold_clip
from snntorch_ecl.functional._activation import _ThresholdClip


class Makers(TorchFunctionMode):
    """Remembers the last operation that returned each tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[int, str] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func.__name__ + (" into out" if "out" in (kwargs or {}) else "")
        if isinstance(made, Tensor):
            self.last[id(made)] = name
        return made


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("levels", [None, 1, 4])
def test_its_output_is_not_what_was_changed_in_place(levels: int | None, signed: bool) -> None:
    """Dynamo of torch 2.11 drops the gradient of a Function that returns such a tensor."""
    x, threshold = torch.randn(5, 3), torch.tensor(0.8)
    with Makers() as makers:
        made = _ThresholdClip.forward(x, threshold, levels, signed)
    name = makers.last[id(made)]
    assert not name.endswith("_"), name
    assert "out" not in name, name


@pytest.mark.parametrize("levels", [None, 4])
def test_compiled_gradients_are_those_of_the_definition(levels: int | None) -> None:
    x = torch.tensor([-0.5, 0.1, 0.33, 0.79, 1.5], requires_grad=True)
    threshold = torch.tensor(0.8, requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    torch.compiler.reset()
    clip = torch.compile(
        lambda x, threshold: threshold_clip(x, threshold, levels), backend="aot_eager"
    )
    (clip(x, threshold) * weights).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 2.0, 3.0, 4.0, 0.0]
    # Σ w · (h/λ − (x/λ) · 1[0 < x/λ < 1]), with h/λ of 0, 0 or 1/4, 1/2, 1, 1 for L = 4.
    inside = [(2.0, 0.1), (3.0, 0.33), (4.0, 0.79)]
    shares = [0.25, 0.5, 1.0] if levels else [x / 0.8 for _, x in inside]
    expected = 5.0 + sum(w * (h - x / 0.8) for (w, x), h in zip(inside, shares, strict=True))
    assert threshold.grad is not None
    assert threshold.grad.item() == pytest.approx(expected, abs=1e-5)
