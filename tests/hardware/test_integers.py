"""Networks of whole numbers: exact, equal to the float network where that is exact, and refused."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import snntorch_ecl as ecl
from snntorch_ecl.conversion._convert import with_step_biases
from snntorch_ecl.errors import ConfigError, DataError, InputError, StateError, UnsupportedError
from snntorch_ecl.experiments import digits
from snntorch_ecl.hardware import to_integers

from ..helpers.nets import SMALL, Net, over, over_kinds, over_kinds_of
from ..helpers.parts import conv, head, on_grid, recorded, wired

# Their averages and factors are no multiples of a power of two, or their units coarser.
ROUNDED = {"stem shortcut", "u-net", "bn of a conv with two readers", "linear + bn",
           "bn of a shared conv", "bn before conv", "bn of a grouped transposed conv",
           "shared block"}  # fmt: skip
UNITS = [net for net in SMALL if net.name in ("concat", "u-net", "residual", "max-pool")]
EXACT = [net for net in SMALL if net.name not in ROUNDED]


def dyadic(net: Net) -> ecl.SpikingNetwork:
    """The network with weights in 64ths and θ = 1, which 8 bits hold without rounding."""
    snn = ecl.convert(net.prepared(4))
    for parameter in snn.parameters():
        parameter.data = on_grid(parameter, 64).clamp(-1, 1)
    for neuron in snn.neurons.values():
        neuron.threshold.fill_(1)
        neuron.graded_spikes_factor.fill_(1)
    return snn


def small(theta: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    clips = [ecl.ThresholdClip(4, theta) for _ in range(2)]
    return nn.Sequential(nn.Linear(4, 6), clips[0], nn.Linear(6, 5), clips[1], nn.Linear(5, 3))


@over_kinds_of(EXACT)
def test_where_nothing_is_rounded_all_spikes_are_those_of_the_float_network(net: Net) -> None:
    snn = dyadic(net)
    whole = to_integers(snn, num_steps=4)
    inputs = tuple(on_grid(x, 16) for x in net.inputs(3))
    expected, spikes = recorded(snn, lambda: snn(*inputs, num_steps=4))
    found, whole_spikes = recorded(whole, lambda: whole(*inputs, num_steps=4))
    for name in (f"net.{name}" for name in snn.neurons):
        assert torch.equal(spikes[name].double(), whole_spikes[name]), name
    for a, b in zip(tree_leaves(expected), tree_leaves(found), strict=True):
        # Averages of 36 values have 8 binary places.
        torch.testing.assert_close(a.double(), b, atol=0.01, rtol=0)


@over_kinds
def test_steps_whole_runs_and_any_batch_are_equal_bit_for_bit(net: Net) -> None:
    check_exact(net, ecl.convert(net.prepared(4)))


@over(UNITS)
def test_networks_with_unit_spikes_are_exact_as_well(net: Net) -> None:
    check_exact(net, ecl.convert(net.prepared(4), unit_spikes=True))


def check_exact(net: Net, snn: ecl.SpikingNetwork) -> None:
    whole, inputs = to_integers(snn, num_steps=3, membrane_bits=28), net.inputs(3)
    run = tree_leaves(whole(*inputs, num_steps=3))
    whole.reset()
    steps = [tree_leaves(whole.step(*inputs)) for _ in range(3)]
    alone = tree_leaves(whole(*(x[1:2] for x in inputs), num_steps=3))
    for index, output in enumerate(run):
        assert torch.equal(sum(step[index] for step in steps) / 3, output)
        assert torch.equal(alone[index], output[1:2])
    kept = [p for p in whole.net.parameters() if not torch.equal(p, p.round())]
    assert kept == []


@settings(max_examples=5, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(seed=st.integers(0, 10_000), channels=st.integers(1, 4), steps=st.integers(1, 6))
def test_with_no_bit_to_spare_runs_are_exact(seed: int, channels: int, steps: int) -> None:
    torch.manual_seed(seed)
    clips = [ecl.ThresholdClip(4, torch.rand(n) + 0.1) for n in (channels, 3)]
    ann = nn.Sequential(nn.Linear(3, channels), clips[0], nn.Linear(channels, 3), clips[1],
                        nn.Linear(3, 2))  # fmt: skip
    snn, x, whole = ecl.convert(ann), torch.randn(4, 3), None
    for bits in range(8, 33):
        try:
            whole = to_integers(snn, [x], num_steps=steps, membrane_bits=bits)
            break
        except ConfigError:
            continue
    assert whole is not None
    expected = whole(x, num_steps=steps)
    whole.reset()
    assert torch.equal(sum(whole.step(x) for _ in range(steps)) / steps, expected)
    alone = [copy.deepcopy(whole)(row[None], num_steps=steps) for row in x]
    assert torch.equal(torch.cat(alone), expected)


def test_a_linear_network_is_what_integer_arithmetic_computes() -> None:
    snn, x = to_integers(ecl.convert(small(0.7))), torch.rand(6, 4)
    layers = [snn.net.get_submodule(str(i)) for i in range(5)]
    weights = [layer.weight.numpy().astype(np.int64) for layer in layers[::2]]
    biases = [layer.bias.numpy().astype(np.int64) for layer in layers[::2]]
    assert all(np.abs(w).max() <= 127 for w in weights)
    assert np.abs(weights[1]).max() > 63  # they use their bits
    sizes = [layer.threshold.numpy().astype(np.int64) for layer in layers[1::2]]
    shift = int(snn.net.get_submodule("_0_shift").bits.max())
    places = int(snn.net.get_submodule("_4_readout").exponent)
    pixels = np.round(x.numpy() * 256).astype(np.int64)
    stem = (pixels @ weights[0].T + biases[0] + (1 << (shift - 1))) >> shift
    v, n, total = [size // 2 for size in sizes], [0, 0], np.zeros((6, 3), np.int64)
    for _ in range(5):
        current = stem
        for i in range(2):
            v[i] = v[i] + current
            s = (v[i] >= sizes[i]).astype(np.int64) - ((v[i] < 0) & (n[i] > 0))
            v[i], n[i] = v[i] - sizes[i] * s, n[i] + s
            current = s @ weights[i + 1].T + biases[i + 1]
        total += current
    assert snn(x, num_steps=5).tolist() == (total / 2.0**places / 5).tolist()


def test_thresholds_by_channel_have_units_by_channel() -> None:
    torch.manual_seed(0)
    thetas = torch.tensor([[0.5, 1.0, 2.0, 0.25], [1.0, 0.25, 1.0, 2.0]])
    clips = [ecl.ThresholdClip(4, theta) for theta in thetas]
    body = wired(lambda m, x: m.s(m.c(m.r(m.a(x))) + m.r(m.a(x))), a=conv(), c=conv(4), r=clips[0],
                 s=clips[1])  # fmt: skip
    snn = ecl.convert(nn.Sequential(body, head()), unit_spikes=False)
    for parameter in snn.parameters():
        parameter.data = on_grid(parameter, 8)
    whole, x = to_integers(snn), on_grid(torch.randn(3, 2, 6, 6), 8)
    assert len({int(k) for k in whole.neurons["0.r"].threshold}) == 1  # no weights of spikes
    assert len({int(k) for k in whole.neurons["0.s"].threshold}) > 1
    assert torch.equal(whole.spike_worth("0.s"), clips[1].threshold)
    _, spikes = recorded(snn, lambda: snn(x, num_steps=4))
    _, whole_spikes = recorded(whole, lambda: whole(x, num_steps=4))
    for name in snn.neurons:
        worth = whole.spike_worth(name).view(-1, 1, 1)
        assert torch.equal(whole_spikes[f"net.{name}"] * worth, spikes[f"net.{name}"].double())


@pytest.mark.slow
def test_accuracy_on_digits_is_kept_at_eight_bits() -> None:
    images, labels = (t[::20] for t in digits().test.tensors)
    snn = ecl.convert(ecl.models.load_pretrained("digitnet-digits-l4").ann)
    right = [(s(images, num_steps=4).argmax(1) == labels).sum() for s in (snn, to_integers(snn))]
    assert abs(int(right[0]) - int(right[1])) <= 1


def test_corrections_of_single_steps_become_whole_and_are_saved(tmp_path: Path) -> None:
    ann, x = small(), on_grid(torch.rand(8, 4), 16)
    biases = {"1": torch.tensor([[0.5] * 6, [-0.25] * 6]), "3": torch.tensor([[0.25] * 5])}
    snn = with_step_biases(ecl.convert(ann), biases)
    for parameter in snn.parameters():
        parameter.data = on_grid(parameter, 64)
    whole = to_integers(snn)
    torch.testing.assert_close(whole(x, num_steps=3).float(), snn(x, num_steps=3))
    loaded = ecl.load(whole.save(tmp_path / "whole.safetensors"), ann)
    assert torch.equal(loaded(x, num_steps=3), whole(x, num_steps=3))


def test_it_is_used_like_any_spiking_network(tmp_path: Path) -> None:
    ann, x = small(), torch.rand(8, 4)
    whole = to_integers(ecl.convert(ann))
    y = whole(x, num_steps=4).argmax(1)
    assert ecl.evaluate(whole, [(x, y)], num_steps=4, progress=False).accuracy[3] == 1
    cost = ecl.energy(whole, [x], num_steps=4, progress=False)
    assert cost.total("acs") > 0
    assert cost.total("macs") == 24
    assert whole.predict(x, max_steps=4).classes.shape == (8,)
    loaded = ecl.load(whole.save(tmp_path / "whole.safetensors"), small(3.0))
    assert torch.equal(loaded(x, num_steps=4), whole(x, num_steps=4))
    assert loaded.integers == whole.integers
    assert (tmp_path / "whole.safetensors").stat().st_size < 5000
    with pytest.raises(ConfigError, match="float64, which no other type can replace"):
        whole.float()


# ---------------------------------------------------------------------------------- refused


def test_membranes_that_could_overflow_are_refused_by_the_layer_and_the_bits_they_need() -> None:
    snn = ecl.convert(small())
    with pytest.raises(ConfigError, match=r"^3: within num_steps=32 .* Give membrane_bits=1\d"):
        to_integers(snn, membrane_bits=14)
    ann = small()
    ann[0].bias.data[0] = 1e9
    with pytest.raises(
        ConfigError, match=r"^1: within .* Give fewer weight_bits or num_steps, or sm"
    ):
        to_integers(ecl.convert(ann))
    whole = to_integers(snn, [torch.rand(8, 4)], membrane_bits=14, num_steps=4)
    with pytest.raises(StateError, match=r"reached .* more than 14 bits hold"):
        whole(torch.full((1, 4), -7.0), num_steps=400)
    with pytest.raises(ConfigError, match="on this data and within 400 steps, a membrane of"):
        to_integers(snn, [torch.full((1, 4), -7.0)], membrane_bits=14, num_steps=400)


def test_weights_that_do_not_fit_are_refused() -> None:
    ann = small()
    ann[2].weight.data[0, 0] = 1000
    told = r"^3: its largest weight is 1000 θ, and weight_bits=8 hold at most 127 θ. Give more"
    with pytest.raises(ConfigError, match=told):
        to_integers(ecl.convert(ann))


def test_inputs_out_of_range_are_refused() -> None:
    whole = to_integers(ecl.convert(small()))
    told = r"goes up to 9; .* 12 bits with 8 binary places .* or scale the data$"
    with pytest.raises(InputError, match=told):
        whole(torch.full((1, 4), 9.0), num_steps=1)
    with pytest.raises(InputError, match=told):
        to_integers(ecl.convert(small()), [torch.full((1, 4), 9.0)])
    with pytest.raises(InputError, match="holds NaN or infinity"):
        to_integers(ecl.convert(small()), [torch.full((1, 4), torch.nan)])


def test_membranes_are_not_said_to_fit_where_there_was_no_data() -> None:
    with pytest.raises(DataError, match="there is no batch on which to measure membranes"):
        to_integers(ecl.convert(small()), [])


def test_graded_spikes_are_not_taken_for_single_ones() -> None:
    graded = ecl.graded(ecl.convert(small()))
    with pytest.raises(UnsupportedError, match=r"1 \(GradedNeuron\): it is not the neuron of the"):
        to_integers(graded)


def test_thresholds_by_channel_reach_linear_layers() -> None:
    torch.manual_seed(0)
    clips = [ecl.ThresholdClip(4, torch.tensor(theta)) for theta in ([0.5, 1, 2, 0.25], [2.0, 1])]
    ann = nn.Sequential(nn.Linear(3, 4), clips[0], nn.Dropout(), nn.Linear(4, 2), clips[1],
                        nn.Linear(2, 2))  # fmt: skip
    snn = ecl.convert(ann)
    for parameter in snn.parameters():
        parameter.data = on_grid(parameter, 8)
    whole, x = to_integers(snn), on_grid(torch.randn(5, 3), 8)
    torch.testing.assert_close(whole(x, num_steps=4), snn(x, num_steps=4).double())
    with pytest.raises(InputError, match="has a dimension too many"):
        whole(torch.rand(5, 4, 3), num_steps=4)  # its channels would be another dimension


@pytest.mark.parametrize("shape", [(5, 4), (5, 3, 4)])
def test_joined_values_of_different_thresholds_may_be_tokens(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    clips = [ecl.ThresholdClip(4, theta) for theta in (0.5, 1.5, 1.0)]
    tokens = len(shape) == 3
    ann = wired(lambda m, x: m.f(m.t(m.c(torch.cat([m.r(m.a(x)), m.s(m.b(x))], 1)))),
                a=nn.Linear(4, 6), b=nn.Linear(4, 6), c=nn.Linear(6 if tokens else 12, 8),
                f=nn.Linear(8, 2), r=clips[0], s=clips[1], t=clips[2])  # fmt: skip
    snn, x = ecl.convert(ann), torch.rand(*shape)
    whole = to_integers(snn, weight_bits=16, input_bits=16, input_fraction_bits=14)(x, num_steps=4)
    torch.testing.assert_close(whole.float(), snn(x, num_steps=4), atol=0.01, rtol=0)


class Sums(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(1)


def test_operations_that_are_not_known_are_refused_by_name() -> None:
    ann = nn.Sequential(ecl.ThresholdClip(4, 1.0), Sums(), nn.Linear(4, 2))
    snn = ecl.convert(ann, handlers={Sums: ecl.keep}, leaf_modules=[Sums])
    with pytest.raises(UnsupportedError, match=r"1 \(Sums\): it is not known to compute with"):
        to_integers(snn)
    ann = wired(lambda m, x: m.b(m.r(m.a(x) + m.p)), a=nn.Linear(4, 4), b=nn.Linear(4, 2),
                r=ecl.ThresholdClip(4, 1.0), p=nn.Parameter(torch.ones(4)))  # fmt: skip
    with pytest.raises(UnsupportedError, match="it adds a constant"):
        to_integers(ecl.convert(ann))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight_bits": 1}, "weight_bits must be an integer >= 2; got 1"),
        ({"membrane_bits": 33}, "membrane_bits must be at most 32; got 33"),
        ({"num_steps": 0}, "num_steps must be >= 1"),
    ],
)
def test_settings_out_of_range(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        to_integers(ecl.convert(small()), **settings)


def test_an_integer_network_is_not_made_twice() -> None:
    whole = to_integers(ecl.convert(small()))
    with pytest.raises(ConfigError, match="computes with integers already"):
        to_integers(whole)
