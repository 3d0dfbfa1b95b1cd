"""Every call of a rectifier gets a clip of its own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import UnsupportedError
from snntorch_ecl.graph._rectifiers import rectifiers_to_clips
from snntorch_ecl.graph._trace import trace
from tests.helpers.graphs import called, linear_net, normalised, same
from tests.helpers.nets import Net, over_small

pytestmark = pytest.mark.usefixtures("seeded")


@over_small
def test_every_call_of_a_rectifier_gets_a_clip_of_its_own(net: Net) -> None:
    gm = rectifiers_to_clips(normalised(net.model()), levels=8, per_channel=True)
    clips = [n for n in called(gm, "call_module")
             if isinstance(gm.get_submodule(n), ecl.ThresholdClip)]  # fmt: skip
    assert len(clips) == len(set(clips)) == net.clips
    assert {(gm.get_submodule(n).levels, gm.get_submodule(n).per_channel) for n in clips} == {
        (8, True)
    }


def test_a_clip_called_twice_is_doubled_with_its_settings() -> None:
    clip = ecl.ThresholdClip(3, 0.75, ceiling=2.0)
    model = linear_net(lambda m, x: m.r(m.b(m.r(m.a(x)))), r=clip)
    gm = rectifiers_to_clips(trace(model, (ecl.ThresholdClip,)), levels=8, per_channel=False)
    first, second = gm.get_submodule("r"), gm.get_submodule("r_1")
    assert first is not second
    for each in (first, second):
        assert (each.levels, each.ceiling, each.threshold.item()) == (3, 2.0, 0.75)
    assert same(gm, model, (torch.randn(8, 4),))


@pytest.mark.parametrize("low", [-1.0, 0.5])
def test_a_clamp_that_does_not_begin_at_0_is_no_rectifier(low: float) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Hardtanh(low, 6.0))
    with pytest.raises(UnsupportedError, match=r"2 \(Hardtanh\)"):
        ecl.prepare(model)
