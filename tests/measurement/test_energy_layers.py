"""Costs of layers that users register, and the synapses of every kind of layer."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import ThresholdClip
from snntorch_ecl.errors import RegistrationError
from snntorch_ecl.measurement._synapses import SynapseMeter, fan_out
from snntorch_ecl.network import Seen
from snntorch_ecl.nn import Scale

STEPS = 4


def cost(snn: ecl.SpikingNetwork, *batches: Tensor, **settings: Any) -> ecl.Energy:
    return ecl.energy(snn, batches, num_steps=STEPS, progress=False, **settings)


# ------------------------------------------------------------------------------------ fan-out


def synapses_one_by_one(conv: nn.Conv2d, height: int, width: int) -> Tensor:
    """Every output, kernel place and channel in turn: which input does the synapse read?"""
    counts = torch.zeros(conv.in_channels, height, width)
    (kh, kw), (sh, sw), (ph, pw) = conv.kernel_size, conv.stride, conv.padding
    (dh, dw) = conv.dilation
    rows = (height + 2 * ph - dh * (kh - 1) - 1) // sh + 1
    columns = (width + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    group_in, group_out = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    for out, i, j, c, a, b in itertools.product(
        range(conv.out_channels), range(rows), range(columns), range(group_in), range(kh), range(kw)
    ):
        y, x = i * sh - ph + a * dh, j * sw - pw + b * dw
        if 0 <= y < height and 0 <= x < width:
            counts[out // group_out * group_in + c, y, x] += 1
    return counts


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"stride": 2}, {"padding": 1}, {"groups": 2}, {"dilation": 2}, {"bias": False},
        {"stride": (2, 1), "padding": (0, 2), "groups": 4, "dilation": (1, 2)},
    ],
    ids=str,
)  # fmt: skip
def test_fan_out_counts_every_synapse(settings: dict[str, Any]) -> None:
    conv = nn.Conv2d(4, 8, 3, **settings)
    found = fan_out(conv, torch.rand(2, 4, 6, 7))
    assert torch.equal(found, synapses_one_by_one(conv, 6, 7))


@pytest.mark.parametrize("settings", [{}, {"stride": 2}, {"padding": 1}, {"groups": 2}], ids=str)
def test_fan_out_is_a_transposed_convolution_of_ones(settings: dict[str, Any]) -> None:
    conv = nn.Conv2d(4, 6, 3, **settings)
    x = torch.rand(1, 4, 7, 7)
    reached = nn.functional.conv_transpose2d(
        torch.ones_like(conv(x)), torch.ones_like(conv.weight), **settings
    )
    assert torch.equal(fan_out(conv, x), reached[0])


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Linear(3, 5), (3,), 15),
        (nn.Linear(3, 5), (2, 3), 30),
        (nn.Conv1d(2, 3, 2), (2, 4), 2 * 3 * 2 * 3),
        (nn.Conv3d(1, 2, 2), (1, 2, 2, 2), 16),
        (nn.ConvTranspose2d(2, 3, 2, 2), (2, 2, 2), 2 * 3 * 4 * 4),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_fan_out_of_every_kind_of_layer(
    layer: nn.Module, shape: tuple[int, ...], expected: int
) -> None:
    assert float(fan_out(layer, torch.rand(1, *shape)).sum()) == expected


# ---------------------------------------------------------------- one entry teaches all rooms


class Kernel(nn.Module):
    """A convolution of one's own, that descends from nothing and calls its weight otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(5, 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.kernel, padding=1)


class Standardised(nn.Conv2d):
    """Its weights have mean 0 and deviation 1: all ones would be all zeros."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / weight.std((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)


def around(layer: nn.Module) -> nn.Module:
    clips = [ThresholdClip(4, 1.0) for _ in range(2)]
    return nn.Sequential(nn.Conv2d(1, 3, 1), clips[0], layer, clips[1]).eval()


@pytest.mark.usefixtures("clean_registry")
@pytest.mark.parametrize("layer", [Kernel, lambda: Standardised(3, 5, 3, padding=1)])
def test_a_registered_layer_has_the_synapses_of_its_kind(layer: Any) -> None:
    ecl.register(Kernel)(ecl.keep)
    data = [torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))]
    torch.manual_seed(0)
    known = around(nn.Conv2d(3, 5, 3, padding=1))
    own = around(layer())
    with torch.no_grad():  # both layers see the same spikes
        own[0].load_state_dict(known[0].state_dict())
    costs = [
        ecl.energy(ecl.convert(net), data, num_steps=4, progress=False) for net in (own, known)
    ]
    mine, theirs = (next(la for la in cost.layers if la.name == "2") for cost in costs)
    assert mine.acs == theirs.acs > 0
    assert mine.ann_macs == theirs.ann_macs == 5 * 3 * (6 * 3 - 2) ** 2
    assert not [name for name in costs[0].not_counted if name.startswith("2")]


class Padded(nn.Conv2d):
    """A convolution that pads by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(x, (1, 1, 1, 1)))


@pytest.mark.usefixtures("clean_registry")
@pytest.mark.parametrize(("like", "scales"), [(None, 2), (nn.Conv2d, 1)])
def test_unit_spikes_scale_the_weight_of_a_layer_that_is_like_a_convolution(
    like: Any, scales: int
) -> None:
    ecl.register(Padded, like=like)(ecl.keep)
    net = around(Padded(3, 5, 3))
    net[1].threshold = 0.5
    x = torch.rand(2, 1, 6, 6)
    plain, unit = ecl.convert(net), ecl.convert(net, unit_spikes=True)
    found = [m for m in unit.net.modules() if isinstance(m, Scale)]
    assert len(found) == scales  # one at the network's output in either case
    torch.testing.assert_close(unit(x, num_steps=4), plain(x, num_steps=4))


def test_like_takes_a_known_type() -> None:
    with pytest.raises(RegistrationError, match="like= takes a type that is registered"):
        ecl.register(Kernel, like=nn.Hardshrink)


@pytest.mark.parametrize(
    ("amplitudes", "events"),
    [((0.5, 0.5), True), ((0.5, -0.5), True), ((0.5, 1.0), False), ((1.0, 0.5), False)],
)
def test_amplitudes_are_compared_over_all_pieces_of_a_run(
    amplitudes: tuple[float, ...], events: bool
) -> None:
    layer = nn.Linear(2, 3)
    meter = SynapseMeter(layer, num_steps=2)
    for amplitude in amplitudes:
        x = torch.tensor([[amplitude, 0.0]])
        meter.see(Seen("0", "_0", x, layer(x), num_steps=1, timed=True))
    assert (meter.acs, meter.macs) == ((6.0, 0.0) if events else (0.0, 6.0))
