"""Where signed clips go: before every weighted map and every operand of a matrix product."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves

import snntorch_ecl as ecl
from snntorch_ecl import ThresholdClip
from snntorch_ecl.errors import UnsupportedError
from snntorch_ecl.models import ViT
from snntorch_ecl.nn import Difference
from snntorch_ecl.nn._threshold_clip import clips_of
from tests.helpers.nets import Net, over_small

A_BLOCK = {
    "attention.query_clip": True,  # keys and values read the same
    "attention.matmul_left_clip": True,  # queries
    "attention.matmul_right_clip": True,  # keys
    "attention.matmul_right_clip_1": True,  # values
    "attention.matmul_left_clip_1": False,  # attention weights
    "attention.proj_clip": True,
    "mlp.0_clip": True,
    "mlp.2_clip": True,
}


def vit(depth: int = 2) -> nn.Module:
    torch.manual_seed(0)
    net = ViT()
    net.blocks = net.blocks[:depth]
    return net.eval()


def images(count: int = 3) -> Tensor:
    return torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def prepared(net: nn.Module, x: Tensor, **settings: object) -> nn.Module:
    return ecl.prepare(net, signed=True, example=x, **settings)  # type: ignore[arg-type]


def test_eight_a_block_and_one_and_none_before_the_patches() -> None:
    net = prepared(vit(), images())
    found = {name: clip.signed for name, clip in clips_of(net).items()}
    blocks = {f"blocks.{i}.{name}": sign for i in range(2) for name, sign in A_BLOCK.items()}
    assert found == {**blocks, "head_clip": True}
    assert torch.equal(net(images()), vit()(images()))


@over_small
def test_rectified_networks_get_no_more_clips_than_between_maps(net: Net) -> None:
    """A rectifier stands before almost every map: then nothing is added, and outputs are equal."""
    plain, more = (ecl.prepare(net.model(), signed=signed) for signed in (False, True))
    added = clips_of(more).keys() - clips_of(plain).keys()
    assert all(name.endswith("_clip") or "_clip_" in name for name in added)
    inputs = net.inputs()
    for a, b in zip(*(tree_leaves(n.eval()(*inputs)) for n in (plain, more)), strict=True):
        torch.testing.assert_close(a, b)


def test_a_plain_chain_of_rectifiers_is_not_changed() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    assert clips_of(ecl.prepare(net, signed=True)).keys() == {"2", "5"}


def test_every_map_and_every_product_is_driven_by_spikes() -> None:
    net = prepared(vit(), images(), levels=2)
    net.train()(images(16))
    snn = ecl.convert(net.eval())
    thetas = {name: float(neuron.threshold) for name, neuron in snn.neurons.items()}
    seen: dict[str, int] = {}

    def see(name: str, inputs: tuple[Tensor, ...]) -> None:
        for x in inputs:
            sizes = x.abs()[x != 0]
            driven = any(torch.allclose(sizes, torch.tensor(t), rtol=1e-4) for t in thetas.values())
            assert driven, name
        seen[name] = len(inputs)

    for name, module in snn.net.named_modules():
        product = isinstance(module, Difference) and "matmul" in name
        if product or (isinstance(module, nn.Linear) and name != "head"):
            module.register_forward_pre_hook(lambda m, i, name=name: see(name, i))
    snn(images(), num_steps=3)
    assert sum(seen.values()) == 2 * 10  # six maps and two products of two a block


class Fused(nn.Module):
    """Attention by torch's fused function, in the forms that people call it."""

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.settings = settings
        self.register_buffer("bias", torch.randn(5, 5))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(-1, 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        settings = dict(self.settings)
        if settings.pop("bias", False):
            settings["attn_mask"] = self.bias
        mixed = functional.scaled_dot_product_attention(q, k, v, **settings)  # type: ignore[arg-type]
        return self.proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


@pytest.mark.parametrize("settings", [{}, {"is_causal": True}, {"scale": 0.3}, {"bias": True}])
def test_fused_attention_is_expanded(settings: dict[str, object]) -> None:
    torch.manual_seed(0)
    net, x = Fused(**settings).eval(), torch.randn(3, 5, 8)
    ann = prepared(net, x)
    assert len(clips_of(ann)) == 5
    torch.testing.assert_close(ann(x), net(x))
    ann.train()(x)
    snn = ecl.convert(ann.eval())
    assert snn(x, num_steps=3).isfinite().all()


def test_leaky_rectifiers_and_slopes_need_none() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.PReLU(2), nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Flatten()
    )
    plain, more = (clips_of(ecl.prepare(net, signed=s)) for s in (False, True))
    assert plain.keys() == more.keys()


def test_a_network_without_rectifiers_is_told_of_signed_clips() -> None:
    with pytest.raises(UnsupportedError, match=r"prepare\(model, signed=True\)"):
        ecl.prepare(nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2)))
    assert isinstance(
        prepared(nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2)), torch.rand(1, 4))
        .get_submodule("2_clip"),
        ThresholdClip,
    )  # fmt: skip
