"""Layers and calls that hide what they compute: attention, stochastic depth, wrapped functions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import TraceError
from snntorch_ecl.nn._attention import Attention, DropRows
from snntorch_ecl.nn._threshold_clip import clips_of


def attention(**settings: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    made = nn.MultiheadAttention(8, 2, batch_first=True, **settings).eval()
    if made.in_proj_bias is not None:
        nn.init.normal_(made.in_proj_bias)
    return made


@pytest.mark.parametrize("settings", [{}, {"bias": False}, {"kdim": 6, "vdim": 5}])
@pytest.mark.parametrize("masked", [None, "float", "bool"])
def test_attention_is_torchs(settings: dict[str, Any], masked: str | None) -> None:
    fused = attention(**settings)
    query = torch.randn(3, 4, 8)
    key, value = (torch.randn(3, 5, settings.get(name, 8)) for name in ("kdim", "vdim"))
    mask = None if masked is None else torch.randn(4, 5)
    if masked == "bool":
        mask = torch.arange(5) > torch.arange(4)[:, None]
    found = Attention(fused)(query, key, value, attn_mask=mask)
    for a, b in zip(found, fused(query, key, value, attn_mask=mask), strict=True):
        torch.testing.assert_close(a, b)


def test_attention_with_the_batch_behind_the_tokens() -> None:
    torch.manual_seed(0)
    fused, x = nn.MultiheadAttention(8, 2).eval(), torch.randn(5, 3, 8)
    torch.testing.assert_close(Attention(fused)(x, x, x)[0], fused(x, x, x)[0])


@pytest.mark.parametrize("settings", [{"add_bias_kv": True}, {"add_zero_attn": True}])
def test_what_attention_cannot_do_is_refused(settings: dict[str, bool]) -> None:
    with pytest.raises(TraceError, match="add_bias_kv or add_zero_attn"):
        ecl.prepare(Attending(**settings), signed=True)


class Attending(nn.Module):
    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.attend, self.head = attention(**settings), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        mixed, _ = self.attend(x, x, x)
        return self.head((x + mixed)[:, 0])  # type: ignore[no-any-return]


@pytest.mark.parametrize("with_example", [False, True])
def test_a_network_with_attention_converts(with_example: bool) -> None:
    net, x = Attending().eval(), torch.randn(4, 5, 8)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    ann = ecl.prepare(net, signed=True, example=x if with_example else None)
    torch.testing.assert_close(ann(x), net(x))
    assert len(clips_of(ann)) == 6  # q, k, v, weights, what they mix, the head's input
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    snn = ecl.convert(ecl.calibrate(ann, [x], progress=False))
    with torch.no_grad():
        errors = [float((snn(x, num_steps=t) - net(x)).norm()) for t in (2, 8, 64)]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_torchs_encoder_converts(norm_first: bool, activation: str) -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"activation": activation, "norm_first": norm_first}
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **settings)
    encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=False)
    net = nn.Sequential(encoder, nn.Flatten(), nn.Linear(40, 3)).eval()
    x = torch.randn(4, 5, 8)
    ann = ecl.prepare(net, signed=True)
    torch.testing.assert_close(ann(x), net(x))
    ecl.convert(ecl.calibrate(ann, [x], progress=False))(x, num_steps=2)


def hidden(x: Tensor, side: int) -> Tensor:
    mask = x.new_zeros((side, side))
    mask[0, 1:] = -1.0
    return x + mask


torch.fx.wrap("hidden")


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu, self.layer = nn.ReLU(), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(hidden(self.relu(x), x.shape[-1]))  # type: ignore[no-any-return]


def test_wrapped_functions_are_looked_into_where_shapes_are_known() -> None:
    net, x = Wrapped().eval(), torch.randn(4, 3, 3)
    ann = ecl.prepare(net, example=x)
    assert torch.equal(ann(x), net(x))
    snn = ecl.convert(ecl.calibrate(ann, [x], progress=False, method="max"))
    with torch.no_grad():
        assert float((snn(x, num_steps=64) - net(x)).abs().max()) < 0.1


def test_stochastic_depth_drops_images_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer, x = DropRows(0.25), torch.ones(4000, 2)
    dropped = layer.train()(x)
    assert dropped.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.05)
    assert torch.equal(layer.eval()(x), x)
    depth = pytest.importorskip("torchvision.ops").StochasticDepth(0.5, "row")
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), depth, nn.Linear(2, 2)).train()
    assert isinstance(ecl.prepare(net).get_submodule("2"), DropRows)
