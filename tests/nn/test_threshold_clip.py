"""ThresholdClip: gradients, memory, and a threshold that starts well and stays positive."""

from __future__ import annotations

import copy
import functools
import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from snntorch_ecl import ThresholdClip
from snntorch_ecl.errors import ConfigError, InputError, ThresholdUnsetError
from snntorch_ecl.functional import threshold_clip
from tests.helpers import oracles


def uniform(*shape: int, low: float = -1.0, high: float = 3.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, generator=generator)


def hand_gradients(x: float, lam: float, levels: int | None) -> tuple[float, float]:
    """dh/dx = 1[0 < x/λ < 1];  dh/dλ = h/λ − (x/λ)·1[0 < x/λ < 1]."""
    inside = float(0 < x / lam < 1)
    return inside, float(oracles.clip(x, lam, levels)) / lam - x / lam * inside


# ------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("levels", [1, 3, 4, None])
@pytest.mark.parametrize("lam", [0.75, 1.0, 1.5])
def test_gradients_of_a_scalar_threshold(lam: float, levels: int | None) -> None:
    # Both borders, 0 and λ, are among the values.
    x = torch.cat([torch.arange(-8, 33) / 16, torch.tensor([lam])]).requires_grad_()
    upstream = torch.arange(1.0, x.numel() + 1)
    clip = ThresholdClip(levels, lam)
    (clip(x) * upstream).sum().backward()
    pairs = [hand_gradients(v, lam, levels) for v in x.tolist()]
    torch.testing.assert_close(x.grad, torch.tensor([dx for dx, _ in pairs]) * upstream)
    expected = sum(g * dl for g, (_, dl) in zip(upstream.tolist(), pairs, strict=True))
    assert clip.raw_threshold.grad.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("levels", [4, None])
def test_gradients_of_thresholds_per_channel(levels: int | None) -> None:
    lams = [0.75, 1.0, 1.5]
    x = uniform(2, 3, 5).requires_grad_()
    clip = ThresholdClip(levels, torch.tensor(lams))
    clip(x).sum().backward()
    for channel, lam in enumerate(lams):
        pairs = [hand_gradients(v, lam, levels) for v in x[:, channel].flatten().tolist()]
        assert x.grad[:, channel].flatten().tolist() == [dx for dx, _ in pairs]
        expected = sum(dl for _, dl in pairs)
        assert clip.raw_threshold.grad[channel].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("levels", [4, None])
@pytest.mark.parametrize("border", [0.0, 1.0])
def test_gradient_is_zero_at_both_borders(border: float, levels: int | None) -> None:
    x = torch.tensor(border, requires_grad=True)
    threshold_clip(x, 1.0, levels).backward()
    assert x.grad == 0


@pytest.mark.parametrize("levels", [4, None])
def test_at_the_upper_border_lambda_gets_the_whole_gradient(levels: int | None) -> None:
    lam = torch.tensor(1.0, requires_grad=True)
    threshold_clip(torch.tensor(1.0), lam, levels).backward()
    assert lam.grad == 1


@pytest.mark.parametrize("shape", [(), (3, 1)])
def test_unquantised_gradients_are_those_of_finite_differences(shape: tuple[int, ...]) -> None:
    lam = torch.full(shape, 1.0, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([-0.7, -0.2, 0.3, 0.8, 1.2, 2.0], dtype=torch.float64).repeat(2, 3, 1)
    assert torch.autograd.gradcheck(
        lambda x, lam: threshold_clip(x, lam, None), (x.requires_grad_(), lam)
    )


def test_gradients_only_where_they_are_wanted() -> None:
    x, lam = uniform(8), torch.tensor(1.0, requires_grad=True)
    threshold_clip(x, lam, 4).sum().backward()
    assert lam.grad is not None
    x.requires_grad_()
    threshold_clip(x, lam.detach(), 4).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(
    ("levels", "learn", "kept_bytes"),
    [(4, True, 4), (4, False, 1), (None, True, 0), (None, False, 0)],
)
def test_backward_keeps_one_tensor_and_where_it_can_a_byte_an_element_or_the_output_alone(
    levels: int | None, learn: bool, kept_bytes: int
) -> None:
    clip = ThresholdClip(levels, 1.0).requires_grad_(learn)
    x = uniform(64, 8).requires_grad_()
    kept: list[Tensor] = []

    def pack(saved: Tensor) -> Tensor:
        kept.append(saved)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        out = clip(x)
    full_size = [saved for saved in kept if saved.numel() > 1]
    assert [saved.numel() for saved in full_size] == [x.numel()]
    # The output, which the next layer keeps as well, takes nothing.
    own = [s for s in full_size if s.untyped_storage().data_ptr() != out.data_ptr()]
    assert sum(s.element_size() for s in own) == kept_bytes


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


# ------------------------------------------------------------------ starting from the first batch


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


# ------------------------------------------------------------- whether λ is set, and its copies


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
