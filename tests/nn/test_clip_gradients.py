"""ThresholdClip's gradients, by hand, and the memory that they need."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from snntorch_ecl import ThresholdClip
from snntorch_ecl.functional import threshold_clip
from tests.helpers import oracles
from tests.helpers.parts import uniform


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
