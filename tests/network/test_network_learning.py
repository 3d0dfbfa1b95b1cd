"""A network learns: gradients through time, and batch norms that were kept."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import snntorch_ecl as ecl
from tests.helpers.nets import BY_NAME
from tests.helpers.networks import convert, steps
from tests.helpers.parts import close, norms_of

pytestmark = pytest.mark.usefixtures("seeded")


# ------------------------------------------------------------------------------------ fine-tuning


@pytest.mark.parametrize(("name", "first"), [("residual", "0"), ("max-pool", "0"), ("u-net",
                         "down")])  # fmt: skip
def test_gradients_through_time_reach_the_first_layer_and_a_step_lowers_the_loss(
    name: str, first: str
) -> None:
    snn = convert(name).train()
    x = BY_NAME[name].inputs(8)
    target = torch.randn_like(snn(*x, num_steps=4))
    weight = snn.net.get_submodule(first).weight
    before = weight.detach().clone()
    optimiser = torch.optim.SGD(snn.parameters(), lr=0.01)
    losses = []
    for _ in range(6):
        loss = F.mse_loss(snn(*x, num_steps=4), target)
        optimiser.zero_grad()
        loss.backward()
        assert weight.grad.abs().max() > 0
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert not torch.equal(weight, before)


def test_gradients_of_a_run_are_those_of_stepping() -> None:
    snn, x = convert("residual"), BY_NAME["residual"].inputs()
    snn(*x, num_steps=3).square().sum().backward()
    weights = [p for p in snn.parameters() if p.requires_grad]
    whole = [p.grad.clone() for p in weights]
    snn.zero_grad()
    snn.reset()
    (sum(steps(snn, *x)) / 3).square().sum().backward()
    for a, b in zip(whole, weights, strict=True):
        assert torch.allclose(a, b.grad, rtol=1e-3, atol=1e-5 * float(a.abs().max()))


@pytest.mark.parametrize("name", ["residual", "conv + bn", "transposed conv + bn"])
def test_folded_layers_train_weights_and_biases(name: str) -> None:
    frozen = [n for n, p in convert(name).named_parameters() if not p.requires_grad]
    assert frozen == []


NORMED = ["residual", "conv + bn", "transposed conv + bn", "1-D conv", "3-D conv", "linear + bn",
          "bn of a shared conv"]  # fmt: skip


@pytest.mark.parametrize("name", NORMED)
def test_batch_norms_that_were_kept_fold_into_an_equal_network(name: str) -> None:
    ann, x = BY_NAME[name].prepared().double(), BY_NAME[name].inputs()[0].double()
    folded, kept = ecl.convert(ann), ecl.convert(ann, fold_batchnorms=False)
    norms = [m for m in kept.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == len(norms_of(ann))
    assert close(kept(x, num_steps=4), folded(x, num_steps=4))
    later = kept.fold_batchnorms()
    assert later is kept
    assert later.state_dict().keys() == folded.state_dict().keys()
    assert close(later(x, num_steps=4), folded(x, num_steps=4))


def test_kept_batch_norms_learn_and_fold_with_what_they_learned() -> None:
    snn, x = (
        convert("residual", fold_batchnorms=False).double().train(),
        BY_NAME["residual"].inputs(8),
    )
    x = [part.double() for part in x]
    norm = next(m for m in snn.modules() if isinstance(m, nn.BatchNorm2d))
    before = norm.running_mean.clone(), norm.weight.detach().clone()
    snn(*x, num_steps=3).square().sum().backward()
    torch.optim.SGD(snn.parameters(), lr=1e-3).step()
    assert not torch.equal(norm.running_mean, before[0])
    assert not torch.equal(norm.weight, before[1])
    expected = snn.eval()(*x, num_steps=3).detach()
    assert close(snn.train().fold_batchnorms()(*x, num_steps=3), expected)
    assert not snn.training


def test_thresholds_are_not_trained_unless_asked() -> None:
    names = [name for name, _ in convert("residual").named_parameters()]
    assert names
    assert not [name for name in names if "threshold" in name]
