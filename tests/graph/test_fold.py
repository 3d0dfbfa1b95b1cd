"""Identities are dropped and batch norms folded; outputs stay."""

from __future__ import annotations

from collections.abc import Collection

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

from snntorch_ecl.graph._fold import drop_identities, fold_batchnorm
from snntorch_ecl.graph._trace import finish, trace
from tests.helpers.graphs import called, linear_net, normalised, same
from tests.helpers.nets import Net, over_small
from tests.helpers.parts import close, conv, norms_of, randomise, wired

pytestmark = pytest.mark.usefixtures("seeded")


def folded(gm: GraphModule, kept: Collection[str] = ()) -> GraphModule:
    """With the code of the graph that folding leaves."""
    return finish(fold_batchnorm(gm, kept))


@over_small
def test_drop_identities_keeps_outputs_and_drops_all(net: Net) -> None:
    model = net.model()
    gm = drop_identities(normalised(model))
    assert same(gm, model, net.inputs())
    gm.delete_all_unused_submodules()
    assert not [m for m in gm.modules() if "Dropout" in type(m).__name__ or type(m) is nn.Identity]


def test_drop_identities_follows_keyword_calls() -> None:
    model = linear_net(lambda m, x: m.b(m.d(input=m.a(x))), d=nn.Dropout())
    assert same(drop_identities(trace(model)), model, (torch.randn(2, 4),))


@over_small
def test_folding_keeps_outputs_and_leaves_only_what_cannot_fold(net: Net) -> None:
    model = net.model()
    gm = folded(drop_identities(normalised(model)))
    with torch.no_grad():
        assert close(gm(*net.inputs()), model(*net.inputs()))
    gm.delete_all_unused_submodules()
    assert len(norms_of(gm)) == net.norms


@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Conv1d(2, 3, 2, bias=False), nn.BatchNorm1d(3), (2, 5)),
        (nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), (2, 5, 5)),
        (nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3), (2, 3, 3, 3)),
        (nn.ConvTranspose1d(2, 3, 2), nn.BatchNorm1d(3), (2, 5)),
        (nn.ConvTranspose2d(2, 3, 2), nn.BatchNorm2d(3), (2, 4, 4)),
        (nn.ConvTranspose3d(2, 3, 2), nn.BatchNorm3d(3), (2, 3, 3, 3)),
    ],
    ids=lambda part: type(part).__name__ if isinstance(part, nn.Module) else "",
)
def test_each_kind_of_layer_folds(layer: nn.Module, norm: nn.Module, shape) -> None:
    randomise(norm)
    model = nn.Sequential(layer, norm).eval()
    gm = folded(trace(model))
    x = torch.randn(4, *shape)
    assert called(gm, "call_module") == ["0"]
    assert torch.allclose(gm(x), model(x), atol=1e-5)


class OwnConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


class PaddedConv(nn.Conv2d):
    """Padding of its own, as in networks that come from TensorFlow."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight, self.bias, self.stride)


class StandardisedConv(nn.Conv2d):
    """Its weights are divided by their norm, so that scaling them does nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight / self.weight.norm(), self.bias)


class PickyConv(nn.Conv2d):
    """It takes images of one size alone."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != 9:
            raise ValueError("9 pixels")
        return super().forward(x)


@pytest.mark.parametrize(
    ("kind", "left"), [(PaddedConv, 0), (OwnConv, 1), (StandardisedConv, 1), (PickyConv, 1)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_subclass_folds_if_that_changes_nothing(kind, left: int, bias: bool) -> None:
    layer, norm = kind(2, 4, 3, stride=1, bias=bias), nn.BatchNorm2d(4)
    randomise(norm)
    model = nn.Sequential(layer, norm).eval()
    gm = folded(trace(model, [kind]))
    x = torch.randn(2, 2, 9, 9)
    assert torch.allclose(gm(x), model(x), atol=1e-5)
    assert len(norms_of(gm)) == left
    assert type(gm.get_submodule("0")) is kind


def test_whether_a_subclass_folds_does_not_depend_on_its_values() -> None:
    """A fresh norm shifts nothing, and could be folded into OwnConv; after training it could not.

    A file of a trained network is loaded into a fresh one.
    """
    gm = folded(trace(nn.Sequential(OwnConv(2, 4, 3), nn.BatchNorm2d(4)).eval(), [OwnConv]))
    assert called(gm, "call_module") == ["0", "1"]


def test_norms_that_are_named_stay() -> None:
    layers = (conv(), nn.BatchNorm2d(4), conv(4), nn.BatchNorm2d(4))
    gm = folded(trace(nn.Sequential(*layers).eval()), {"1"})
    assert called(gm, "call_module") == ["0", "1", "2"]


def hooked() -> nn.Module:
    layer = conv()
    layer.register_forward_hook(lambda m, args, out: out * 2)
    return layer


@pytest.mark.parametrize(
    ("layer", "norm"),
    [
        (hooked(), nn.BatchNorm2d(4)),
        (conv(), nn.BatchNorm2d(4, track_running_stats=False)),
        (nn.ReLU(), nn.BatchNorm2d(2)),
        (nn.Linear(4, 4), nn.BatchNorm1d(4)),
    ],
    ids=["hook", "no running statistics", "no affine layer", "linear"],
)
def test_what_is_no_plain_pair_does_not_fold(layer: nn.Module, norm: nn.Module) -> None:
    gm = folded(trace(nn.Sequential(layer, norm).eval()))
    assert called(gm, "call_module") == ["0", "1"]


@pytest.mark.parametrize("tokens", [4, 5])
def test_a_norm_over_another_dimension_than_the_layers_stays_right(tokens: int) -> None:
    """On [B, N, F] a linear layer acts on F, and BatchNorm1d normalises N."""
    norm = nn.BatchNorm1d(tokens)
    randomise(norm)
    model = nn.Sequential(nn.Linear(4, 4), norm).eval()
    x = torch.randn(3, tokens, 4)
    assert torch.allclose(folded(trace(model))(x), model(x), atol=1e-5)


def test_one_norm_after_two_layers_does_not_fold() -> None:
    norm = nn.BatchNorm2d(4)
    randomise(norm)
    model = wired(lambda m, x: m.n(m.a(x)) + m.n(m.b(x)), a=conv(), b=conv(), n=norm).eval()
    gm = folded(trace(model))
    assert called(gm, "call_module").count("n") == 2
    assert same(gm, model, (torch.randn(3, 2, 6, 6),))
