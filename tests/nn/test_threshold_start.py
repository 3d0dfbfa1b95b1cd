"""A threshold starts from the first batch, and follows a network that finds its scale."""

from __future__ import annotations

import copy
import functools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snntorch_ecl import ThresholdClip
from snntorch_ecl.errors import InputError, ThresholdUnsetError
from snntorch_ecl.functional import threshold_clip
from tests.helpers.parts import uniform


def numpy_start(x: Tensor) -> float:
    """The smallest positive activation that at least 99.9 % of them do not exceed."""
    values = x.numpy().ravel()
    return float(np.quantile(values[values > 0], 0.999, method="inverted_cdf"))


@pytest.mark.parametrize("size", [1, 7, 1000, 5000])
def test_first_training_batch_sets_lambda_to_its_quantile(size: int) -> None:
    x = torch.cat([uniform(size, low=0.01), uniform(size, low=-2.0, high=0.0)])
    clip = ThresholdClip()
    clip(x)
    assert clip.threshold.item() == pytest.approx(numpy_start(x), rel=1e-6)


def test_each_channel_starts_from_its_own_quantile_and_a_silent_one_from_the_layers() -> None:
    x = uniform(40, 3, 50) * torch.tensor([1.0, 4.0, 1.0]).view(3, 1)
    x[:, 2] = -x[:, 2].abs()
    clip = ThresholdClip(per_channel=True)
    clip(x)
    expected = [numpy_start(x[:, 0]), numpy_start(x[:, 1]), numpy_start(x)]
    assert clip.threshold.tolist() == pytest.approx(expected, rel=1e-6)


def test_the_first_batch_is_already_clipped_and_a_like_one_changes_nothing() -> None:
    clip = ThresholdClip(4)
    x = uniform(500)
    first = clip(x)
    lam = clip.threshold.item()
    assert torch.equal(first, threshold_clip(x, lam, 4))
    clip(1.3 * x)  # 23 % of the positive activations are beyond λ now
    assert clip.threshold.item() == lam


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_batch_that_is_clipped_by_more_than_a_quarter_raises_lambda(per_channel: bool) -> None:
    clip, x = ThresholdClip(4, per_channel=per_channel), uniform(500, 2)
    clip(x)
    lam = clip.threshold.detach()
    grown = x * torch.tensor([1.2, 2.0])  # half of the second channel is beyond λ
    out = clip(grown)
    aims = [numpy_start(c) for c in grown.T] if per_channel else numpy_start(grown)
    raised = torch.tensor(aims)
    expected = torch.stack([lam[0], raised[1]]) if per_channel else raised
    torch.testing.assert_close(clip.threshold.detach(), expected)
    view = clip.threshold.detach()
    assert torch.equal(out, threshold_clip(grown, view, 4))
    clip(x)  # never lowered
    assert torch.equal(clip.threshold.detach(), view)


def test_lambda_follows_a_hundred_batches_with_gradients_and_no_more() -> None:
    clip, x = ThresholdClip(4), uniform(50)
    clip(x)
    with torch.no_grad():
        clip(9 * x)
    clip.eval()(9 * x)
    clip.train()
    assert clip.threshold.item() == pytest.approx(numpy_start(x))
    for _ in range(99):
        clip(x)
    last = copy.deepcopy(clip)
    last(9 * x)
    assert last.threshold.item() == pytest.approx(numpy_start(9 * x))
    clip(x)
    clip(9 * x)
    assert clip.threshold.item() == pytest.approx(numpy_start(x))
    assert not clip.follows


def test_a_threshold_that_is_given_does_not_follow() -> None:
    clip = ThresholdClip(4, 1.0)
    clip(uniform(50, high=30.0))
    assert clip.threshold == 1


def test_training_goes_on_from_a_state_dict_as_it_would_have() -> None:
    clip, twin, x = ThresholdClip(4), ThresholdClip(4), uniform(50)
    for _ in range(51):
        clip(x)
    twin.load_state_dict(clip.state_dict())
    for _ in range(49):
        twin(x)
    assert twin.follows
    twin(x)
    assert not twin.follows
    assert list(twin.state_dict()) == ["raw_threshold"]


@functools.cache
def variance_left(levels: int | str | None) -> float:
    """The share of variance that is left after a regression whose targets have a mean."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        z = torch.rand(128, 6)
        y = z.sin().sum(1, keepdim=True)
        clips = [nn.ReLU() if levels == "relu" else ThresholdClip(levels) for _ in range(2)]
        net = nn.Sequential(
            nn.Linear(6, 64), clips[0], nn.Linear(64, 64), clips[1], nn.Linear(64, 1)
        )
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(150):
        optimiser.zero_grad()
        (net(z) - y).square().mean().backward()
        optimiser.step()
    return float((net(z) - y).detach().square().mean() / y.var())


@pytest.mark.parametrize(("levels", "floor"), [(None, 0.02), (2, 0.3), (4, 0.15), (8, 0.08)])
def test_a_regression_with_uncentred_targets_learns_as_with_relu(
    levels: int | None, floor: float
) -> None:
    assert variance_left(levels) < 2 * variance_left("relu") + floor


def test_unset_in_evaluation_is_relu_and_stays_unset() -> None:
    clip, x = ThresholdClip().eval(), uniform(50)
    assert torch.equal(clip(x), x.relu())
    assert not clip.is_set


@pytest.mark.parametrize("training", [False, True])
def test_ceiling_holds_until_lambda_is_set(training: bool) -> None:
    """ReLU6: λ starts at 6 at most, and unset it clips at 6."""
    clip, x = ThresholdClip(None, ceiling=6.0).train(training), uniform(5000, high=60.0)
    assert torch.equal(clip(x), nn.functional.relu6(x))
    assert not training or clip.threshold.item() == 6


def test_a_batch_without_positive_activations_leaves_lambda_unset() -> None:
    clip = ThresholdClip()
    assert torch.equal(clip(torch.tensor([-1.0, 0.0])), torch.zeros(2))
    assert not clip.is_set
    clip(torch.tensor([-1.0, 2.0]))
    assert clip.threshold.item() == 2


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_first_batch_that_is_not_finite_is_refused(value: float) -> None:
    clip = ThresholdClip()
    with pytest.raises(InputError, match=r"NaN or infinite.*\[2\]"):
        clip(torch.tensor([1.0, value]))
    assert not clip.is_set


def test_per_channel_start_needs_channels() -> None:
    with pytest.raises(InputError, match=r"\[5\]"):
        ThresholdClip(per_channel=True)(torch.ones(5))


def test_reading_an_unset_lambda_says_how_to_set_it() -> None:
    with pytest.raises(ThresholdUnsetError, match=r"training mode.*threshold = "):
        _ = ThresholdClip().threshold


def test_an_optimiser_made_before_lambda_is_set_trains_it() -> None:
    clip = ThresholdClip(per_channel=True)
    opt = torch.optim.Adam(clip.parameters(), lr=0.1)
    x = uniform(100, 3)
    clip(x)
    start = clip.threshold.detach().clone()
    clip(x).sum().backward()
    opt.step()
    torch.testing.assert_close(clip.threshold.detach(), start - 0.1, rtol=1e-3, atol=0)
