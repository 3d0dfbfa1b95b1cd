"""Whether a threshold is set travels with it, however parameters are copied."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import snntorch_ecl as ecl
from snntorch_ecl import ThresholdClip
from snntorch_ecl.errors import ConfigError, StateError
from snntorch_ecl.functional import threshold_clip
from tests.helpers.parts import uniform


def through_state(a: nn.Module, b: nn.Module, assign: bool = False) -> nn.Module:
    b.load_state_dict(a.state_dict(), assign=assign)
    return b


def in_place(a: nn.Module, b: nn.Module) -> nn.Module:
    with torch.no_grad():
        for own, other in zip(b.parameters(), a.parameters(), strict=True):
            own.copy_(other)
    return b


def by_data(a: nn.Module, b: nn.Module) -> nn.Module:
    for own, other in zip(b.parameters(), a.parameters(), strict=True):
        own.data.copy_(other.data)
    return b


def as_vector(a: nn.Module, b: nn.Module) -> nn.Module:
    vector = torch.nn.utils.parameters_to_vector(a.parameters())
    torch.nn.utils.vector_to_parameters(vector, b.parameters())
    return b


def averaged(a: nn.Module, b: nn.Module) -> nn.Module:
    mean = AveragedModel(b)
    mean.update_parameters(a)
    return mean.module


def called_with(a: nn.Module, b: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.func.functional_call(b, dict(a.named_parameters()), (x,))


def called_vectorised(a: nn.Module, b: nn.Module) -> Callable[[Tensor], Tensor]:
    stacked = {name: torch.stack([p, p]) for name, p in a.named_parameters()}
    call = torch.vmap(lambda p, x: torch.func.functional_call(b, p, (x,)), in_dims=(0, None))
    return lambda x: call(stacked, x)[1]


def compiled(a: nn.Module, b: nn.Module) -> Callable[[Tensor], Tensor]:
    torch.compiler.reset()
    call = torch.compile(b, fullgraph=True, backend="eager")
    call(torch.ones(2, 3))
    in_place(a, b)
    return call


COPIES = {
    "state dict": through_state,
    "assigned": lambda a, b: through_state(a, b, assign=True),
    "in place": in_place,
    "by data": by_data,
    "vector": as_vector,
    "average": averaged,
    "functional call": called_with,
    "vmap": called_vectorised,
    "compiled": compiled,
    "deepcopy": lambda a, b: copy.deepcopy(a),
    "pickle": lambda a, b: pickle.loads(pickle.dumps(a)),
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("start", [None, 9.0])
@pytest.mark.parametrize("value", [None, 1.5, torch.tensor([0.5, 1.0, 2.0])])
def test_whether_lambda_is_set_travels_with_the_parameters(
    way: str, start: float | None, value: float | Tensor | None
) -> None:
    a, b = ThresholdClip(4, value).eval(), ThresholdClip(4, start).eval()
    if isinstance(value, Tensor):  # in place, only what has the same shape can be copied
        b.threshold = torch.full((3,), start or 1.0)
        if start is None:
            b.raw_threshold.data.fill_(math.nan)
    if start is not None and value is None and way in ("vmap", "compiled"):
        pytest.skip("a clip that was seen set is not asked again there: its NaN shows")
    if way == "compiled" and (start is not None or isinstance(value, Tensor)):
        pytest.skip("compiling takes seconds, and only a clip that is unset is asked there")
    x = uniform(4, 3)
    expected = x.relu() if value is None else threshold_clip(x, torch.as_tensor(value), 4)
    twin = COPIES[way](a, b)
    assert torch.equal(twin(x), expected)


@pytest.mark.parametrize("levels", [4, None])
@pytest.mark.parametrize("value", [1.0, torch.tensor([0.5, 1.0, 2.0])])
def test_gradients_of_each_sample_under_vmap(value: float | Tensor, levels: int | None) -> None:
    clip, x = ThresholdClip(levels, value), uniform(5, 3)

    def total(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
        out = torch.func.functional_call(clip, parameters, (row[None],))
        return (out * torch.arange(1.0, 4.0)).sum()

    parameters = dict(clip.named_parameters())
    gradient = torch.func.grad(total, argnums=(0, 1))
    of_lambda, of_x = torch.vmap(gradient, in_dims=(None, 0))(parameters, x)
    for index, row in enumerate(x):
        own = row.clone().requires_grad_()
        clip.zero_grad()
        total(parameters, own).backward()
        torch.testing.assert_close(of_lambda["raw_threshold"][index], clip.raw_threshold.grad)
        assert torch.equal(of_x[index], own.grad)


def test_a_copy_keeps_its_threshold_in_the_next_training_batch() -> None:
    a, b = ThresholdClip(4), ThresholdClip(4)
    a(uniform(50))
    in_place(a, b)
    b(uniform(50, high=40.0))
    assert torch.equal(b.threshold, a.threshold)


def test_a_vector_that_does_not_fit_unset_clips_is_noticed() -> None:
    """One λ a channel has its shape only once it is set: all that follows would be shifted."""
    layers = (nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    source = ecl.prepare(nn.Sequential(*layers), per_channel=True)
    target = copy.deepcopy(source)
    source.train()(torch.randn(8, 4))
    vector = nn.utils.parameters_to_vector(source.parameters())
    nn.utils.vector_to_parameters(vector, target.parameters())
    for use in (target, ecl.convert):
        with pytest.raises(StateError, match=r"^1: a single λ was copied .*vector_to_parameters"):
            use(torch.randn(8, 4) if use is target else target)


def test_one_threshold_for_all_channels_may_be_given_or_loaded() -> None:
    given = ThresholdClip(per_channel=True, threshold=1.0)
    loaded = ThresholdClip(per_channel=True)
    loaded.load_state_dict(given.state_dict())
    assert given.is_set
    assert loaded.is_set
    assert copy.deepcopy(loaded).is_set


@pytest.mark.parametrize(("threshold", "value"), [(1.0, True), (torch.ones(3), False)])
def test_per_channel_is_chosen_while_the_threshold_is_unset(threshold: Any, value: bool) -> None:
    clip = ThresholdClip(threshold=threshold)
    with pytest.raises(ConfigError, match=rf"per_channel={value}, but λ is set, with shape \["):
        clip.per_channel = value
    clip.per_channel = not value  # as it is
    clip.unset()
    clip.per_channel = value
    assert clip.per_channel is value
