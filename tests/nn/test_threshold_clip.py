"""ThresholdClip: settings, copies, dtypes, and a threshold that stays positive."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import Tensor, nn

from snntorch_ecl import ThresholdClip
from snntorch_ecl.errors import ConfigError, InputError
from tests.helpers import oracles
from tests.helpers.parts import uniform

# --------------------------------------------------------------------- training the threshold


@pytest.mark.parametrize("levels", [4, None])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=1e4),
        lambda p: torch.optim.SGD(p, lr=1e2, momentum=0.9, weight_decay=1e-2),
        lambda p: torch.optim.Adam(p, lr=1e3),
        lambda p: torch.optim.Adam(p, lr=1e-1),
    ],
    ids=["sgd", "momentum", "adam", "slow adam"],
)
def test_lambda_stays_positive_and_finite_whatever_the_optimiser(
    optimizer, per_channel: bool, levels: int | None
) -> None:
    clip = ThresholdClip(levels, torch.tensor([1.0, 2.0]) if per_channel else 1.0)
    opt = optimizer(clip.parameters())
    crossed = False
    for seed in range(40):
        opt.zero_grad()
        out = clip(uniform(32, 2, seed=seed))
        assert bool(out.isfinite().all())
        out.sum().backward()  # pulls every λ down
        opt.step()
        crossed |= bool((clip.raw_threshold <= 0).any())
        assert bool((clip.threshold > 0).all())
        assert bool(clip.threshold.isfinite().all())
    assert crossed, "the optimiser never took the parameter across zero: no test"


def test_lambda_recovers_from_its_floor() -> None:
    """No value is a trap: from just above zero, λ grows back to what the data wants."""
    clip = ThresholdClip(4, 1e-6)
    opt = torch.optim.SGD(clip.parameters(), lr=0.5)
    for seed in range(100):
        opt.zero_grad()
        x = uniform(64, low=0.0, high=1.0, seed=seed)
        (clip(x) - x).square().mean().backward()
        opt.step()
    assert 0.6 < clip.threshold.item() < 1.4


# -------------------------------------------------------------------------------- setting λ


@pytest.mark.parametrize("value", [0.1, 2, torch.tensor(3), torch.tensor([1.0, 2.0])])
def test_setting_lambda_keeps_the_parameter_object(value: float | Tensor) -> None:
    clip = ThresholdClip()
    parameter = clip.raw_threshold
    clip.threshold = value
    assert clip.raw_threshold is parameter is next(clip.parameters())
    assert torch.equal(clip.threshold.detach(), torch.as_tensor(value, dtype=torch.float32))
    assert clip.per_channel == (torch.as_tensor(value).ndim == 1)


def test_a_threshold_tensor_is_copied() -> None:
    """In double precision, where no conversion copies it by the way."""
    value = torch.tensor([1.0, 2.0], dtype=torch.float64)
    clip = ThresholdClip().double()
    clip.threshold = value
    value.fill_(9.0)
    assert clip.threshold.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("value", [0.0, -2.0, math.nan, math.inf])
@pytest.mark.parametrize("make", [float, torch.tensor, lambda v: torch.tensor([1.0, v])])
def test_a_threshold_that_is_not_positive_is_refused(make, value: float) -> None:
    with pytest.raises(ConfigError, match=f"threshold.*{value:g}"):
        ThresholdClip(threshold=make(value))


def test_two_dimensional_thresholds_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[2, 3\]"):
        ThresholdClip(threshold=torch.ones(2, 3))


@pytest.mark.parametrize("levels", [0, True, 2.5])
def test_levels_are_checked_at_construction(levels: object) -> None:
    with pytest.raises(ConfigError, match=f"levels.*{levels}"):
        ThresholdClip(levels)


@pytest.mark.parametrize("ceiling", [0.0, -1.0, math.inf, math.nan])
def test_ceiling_must_be_positive_and_finite(ceiling: float) -> None:
    with pytest.raises(ConfigError, match=f"ceiling.*{ceiling}"):
        ThresholdClip(ceiling=ceiling)


@pytest.mark.parametrize("shape", [(4, 3), (2,)])
def test_thresholds_must_match_the_channels(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=rf"^2 thresholds.*\[{shape[0]}"):
        ThresholdClip(threshold=torch.ones(2))(torch.ones(shape))


@pytest.mark.parametrize("shape", [(4, 2), (4, 2, 3), (4, 2, 3, 5)])
def test_channels_are_dimension_one(shape: tuple[int, ...]) -> None:
    out = ThresholdClip(None, torch.tensor([1.0, 2.0]))(torch.full(shape, 9.0))
    assert out.transpose(0, 1).flatten(1).unique(dim=1).flatten().tolist() == [1.0, 2.0]


# ------------------------------------------------------------------------ copies, files, dtypes


@pytest.mark.parametrize("value", [1.5, torch.tensor([1.0, 2.0])])
@pytest.mark.parametrize("start", [None, 9.0, torch.ones(5)])
def test_state_dict_fits_a_clip_of_another_shape(
    value: float | Tensor, start: float | Tensor | None
) -> None:
    source, target = ThresholdClip(threshold=value), ThresholdClip(threshold=start).eval()
    parameter = target.raw_threshold
    target.load_state_dict(source.state_dict())
    x = uniform(6, 2)
    assert torch.equal(target(x), source(x))
    assert target.raw_threshold is parameter


def test_state_dict_of_an_unset_clip_unsets() -> None:
    target = ThresholdClip(threshold=1.0).eval()
    target.load_state_dict(ThresholdClip().state_dict())
    assert target(torch.tensor(7.0)) == 7


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_are_equal_and_independent(twin_of) -> None:
    clip = ThresholdClip(3, torch.tensor([1.0, 2.0]), ceiling=6.0)
    x = uniform(6, 2)
    clip(x).sum().backward()
    twin = twin_of(clip)
    assert torch.equal(twin(x), clip(x))
    assert (twin.levels, twin.per_channel, twin.ceiling) == (3, True, 6.0)
    clip.threshold = 5.0
    assert twin.threshold.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("cast_module", [False, True])
def test_output_and_gradients_keep_their_dtypes(dtype: torch.dtype, cast_module: bool) -> None:
    clip = ThresholdClip()
    if cast_module:
        clip.to(dtype)
    x = (torch.arange(-8, 25) / 16).to(dtype).requires_grad_()
    clip(x)
    clip.threshold = 1.0
    out = clip(x)
    out.sum().backward()
    assert out.dtype == x.grad.dtype == dtype
    assert clip.raw_threshold.grad.dtype == clip.raw_threshold.dtype
    assert clip.raw_threshold.dtype == (dtype if cast_module else torch.float32)
    expected = [float(oracles.clip(v, 1, 4)) for v in x.tolist()]
    assert out.tolist() == expected


def test_autocast_region_trains_a_float32_lambda() -> None:
    net = nn.Sequential(nn.Linear(4, 4), ThresholdClip(threshold=0.5))
    with torch.autocast("cpu", torch.bfloat16):
        out = net(uniform(8, 4))
    out.float().sum().backward()
    assert out.dtype == torch.bfloat16
    assert net[1].raw_threshold.grad.dtype == torch.float32


@pytest.mark.parametrize("levels", [4, None])
@pytest.mark.parametrize("threshold", [1.0, torch.tensor([0.5, 1.0]), None])
def test_compiled_in_one_graph_it_gives_the_same(
    threshold: float | Tensor | None, levels: int | None
) -> None:
    torch.compiler.reset()
    clip = ThresholdClip(levels, threshold)
    clip.train(threshold is not None)
    x, twin = uniform(6, 2).requires_grad_(), uniform(6, 2).requires_grad_()
    eager = clip(x)
    eager.sum().backward()
    by_lambda, clip.raw_threshold.grad = clip.raw_threshold.grad, None
    compiled = torch.compile(clip, fullgraph=True, backend="eager")(twin)
    compiled.sum().backward()
    assert torch.equal(compiled, eager)
    assert torch.equal(twin.grad, x.grad)
    assert threshold is None or torch.equal(clip.raw_threshold.grad, by_lambda)


@pytest.mark.parametrize(
    ("threshold", "shown"),
    [(None, "unset"), (1.25, "threshold=1.25"), (torch.tensor([0.5, 2.0]), "[0.5 … 2]")],
)
def test_printing_shows_levels_and_lambda(threshold: float | Tensor | None, shown: str) -> None:
    text = repr(ThresholdClip(3, threshold))
    assert "levels=3" in text
    assert shown in text


def test_a_threshold_below_the_floor_is_refused_rather_than_lifted() -> None:
    with pytest.raises(ConfigError, match="threshold must be >= 1e-06; got 1e-07"):
        ThresholdClip(threshold=1e-7)


def test_a_channel_that_hardly_activates_starts_like_the_layer() -> None:
    clip = ThresholdClip(4, per_channel=True).train()
    clip(torch.tensor([[1.0, 1e-8]]))
    assert clip.threshold.tolist() == [1.0, 1.0]


def test_a_batch_that_hardly_activates_starts_nothing() -> None:
    clip = ThresholdClip(4).train()
    x = torch.tensor([1e-8, -1.0])
    assert torch.equal(clip(x), x.relu())
    assert not clip.is_set
