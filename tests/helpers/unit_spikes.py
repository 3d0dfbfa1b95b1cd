"""Both conversions of one network, side by side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.functional._channels import over_channels
from snntorch_ecl.nn._scale import Scale
from tests.helpers.nets import Net
from tests.helpers.parts import clips_of, close, recorded


def clip(*theta: float) -> ecl.ThresholdClip:
    return ecl.ThresholdClip(4, torch.tensor(theta) if len(theta) > 1 else theta[0])


def scales(snn: ecl.SpikingNetwork) -> dict[str, Any]:
    """Every Scale by name, with its constants."""
    return {n: m.scale.tolist() for n, m in snn.net.named_modules() if isinstance(m, Scale)}


def per_channel(net: Net) -> nn.Module:
    """The prepared network in double precision, each channel's threshold another."""
    ann = net.prepared().double()
    shapes: dict[str, int] = {}
    hooks = [
        c.register_forward_hook(lambda m, a, out, n=n: shapes.update({n: out.shape[1]}))
        for n, c in clips_of(ann).items()
    ]
    ann(*[x.double() for x in net.inputs()])
    for hook in hooks:
        hook.remove()
    for name, c in clips_of(ann).items():
        c.threshold = c.threshold.detach() * (0.5 + torch.rand(shapes[name], dtype=torch.float64))
    return ann


def assert_the_same(ann: nn.Module, inputs: tuple[Tensor, ...], **settings: Any) -> Any:
    """Both conversions agree in their outputs and in every neuron's spikes; gives the unit one."""
    plain, unit = ecl.convert(ann, **settings), ecl.convert(ann, unit_spikes=True, **settings)
    wanted, spikes = recorded(plain, lambda: plain.logits_over_time(*inputs, num_steps=5))
    found, units = recorded(unit, lambda: unit.logits_over_time(*inputs, num_steps=5))
    assert close(found, wanted, tolerance=1e-9)
    assert spikes.keys() == units.keys()
    for name, neuron in unit.neurons.items():
        train = units[f"net.{name}"]
        assert set(train.unique().tolist()) <= {-1.0, 0.0, 1.0}
        theta = over_channels(neuron.threshold, train)
        assert torch.equal(train * theta, spikes[f"net.{name}"])
    assert any(bool(train.any()) for train in units.values())
    return unit


# ------------------------------------------------------------------------------- where θ goes


def weight(layer: nn.Module) -> Tensor:
    tensor = layer.weight
    assert isinstance(tensor, Tensor)
    return tensor
