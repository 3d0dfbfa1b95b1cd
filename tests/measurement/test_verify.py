"""``verify``: its figures by hand, neuron by neuron, and the layer it blames."""

import copy
import math

import pytest
import snntorch
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError, DataError
from snntorch_ecl.measurement._verify import LayerCheck, Verification

STEPS = 4


def network() -> nn.Module:
    torch.manual_seed(3)
    layers = (nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 3))
    return nn.Sequential(*layers).eval()


def inputs() -> Tensor:
    return torch.randn(40, 5, generator=torch.Generator().manual_seed(1))


def converted(model: nn.Module, threshold: float | None = None) -> ecl.SpikingNetwork:
    ann = ecl.calibrate(ecl.prepare(model), [inputs()], method="max", progress=False)
    if threshold is not None:
        ann.get_submodule("3").threshold = threshold
    return ecl.convert(ann)


def check(model: nn.Module, snn: ecl.SpikingNetwork, **options: object) -> Verification:
    data = [(x, 0) for x in inputs().split(15)]
    return ecl.verify(snn, model, data, num_steps=STEPS, progress=False, **options)  # type: ignore[arg-type]


def test_its_figures_are_those_counted_neuron_by_neuron() -> None:
    model = network()
    model[0].bias.data[4] = -100  # type: ignore[index]  # silent in the ANN too: not counted
    snn = converted(model, threshold=0.3)
    found = check(model, snn)
    assert (found.samples, found.num_steps) == (40, STEPS)
    counts = {name: torch.zeros(40, neuron_count) for name, neuron_count in (("1", 12), ("3", 9))}
    spiked = {name: torch.zeros_like(value, dtype=torch.bool) for name, value in counts.items()}
    for index, x in enumerate(inputs()):
        snn.reset()
        for _ in range(STEPS):
            seen: dict[str, Tensor] = {}
            hooks = [
                neuron.register_forward_hook(
                    lambda m, a, out, name=name, seen=seen: seen.__setitem__(name, out)
                )
                for name, neuron in snn.neurons.items()
            ]
            with torch.no_grad():
                snn.step(x[None])
            for hook in hooks:
                hook.remove()
            for name, spikes in seen.items():
                counts[name][index] += (spikes[0] / snn.neurons[name].threshold).round()
                spiked[name][index] |= spikes[0] != 0
    with torch.no_grad():
        first = model[0](inputs()).relu()  # type: ignore[index]
        wanted = {"1": first, "3": model[2](first).relu()}  # type: ignore[index]
    for layer in found.layers:
        theta = float(snn.neurons[layer.name].threshold)
        activation, count = wanted[layer.name], counts[layer.name]
        exact = saturated = 0
        for a, n in zip(activation.flatten().tolist(), count.flatten().tolist(), strict=True):
            exact += n == min(max(math.floor(a * STEPS / theta + 0.5), 0), STEPS)
            saturated += n == STEPS and a > theta
        assert layer.exact == pytest.approx(exact / count.numel())
        assert layer.saturated == pytest.approx(saturated / count.numel())
        active = (activation >= theta / (2 * STEPS)).any(0)
        assert layer.silent == float((active & ~spiked[layer.name].any(0)).double().mean())
        distance = (count * theta / STEPS - activation).norm() / activation.norm()
        assert layer.error == pytest.approx(float(distance), rel=1e-4)
    assert found.layers[1].saturated > 0.05  # a threshold far too small saturates


def test_constant_input_at_t_equal_to_l_is_exact() -> None:
    ann = ecl.calibrate(ecl.prepare(network(), levels=STEPS), [inputs()], progress=False)
    first = check(ann, ecl.convert(ann)).layers[0]
    assert (first.error, first.exact) == (pytest.approx(0.0, abs=1e-6), 1.0)


def test_a_neuron_that_cannot_spike_is_counted_as_silent() -> None:
    model, snn = network(), converted(network())
    snn.net.get_submodule("0").weight.data[2] = 0
    snn.net.get_submodule("0").bias.data[2] = -1
    assert check(model, snn).layers[0].silent == pytest.approx(1 / 12)


def test_the_layer_where_the_error_grows_most_is_blamed() -> None:
    layers = [("a", 0.1), ("b", 0.5), ("c", 0.6), ("d", None)]
    checks = tuple(LayerCheck(name, error, 1.0, 0.0, 0.0) for name, error in layers)
    result = Verification(5, 4, checks)
    assert result.worst.name == "b"
    assert "b *" in str(result)
    assert result.to_dict()["worst"] == "b"
    left, right = result.plot().axes
    assert left.get_title() == "it grows most in b"
    assert left.get_ylim() == right.get_ylim()


def test_nothing_that_was_given_changes() -> None:
    model, snn = network().train(), converted(network())
    before = copy.deepcopy((model.state_dict(), snn.state_dict()))
    check(model, snn)
    for state, now in zip(before, (model.state_dict(), snn.state_dict()), strict=True):
        assert all(torch.equal(value, now[name]) for name, value in state.items())
    assert model.training
    assert not any(m._forward_hooks for net in (model, snn) for m in net.modules())


def test_bad_input_is_refused() -> None:
    model, snn = network(), converted(network())
    with pytest.raises(DataError, match="the data is empty"):
        ecl.verify(snn, model, [], num_steps=4)
    with pytest.raises(DataError, match="batch 0 must be a tensor"):
        ecl.verify(snn, model, [3], num_steps=4, progress=False)
    with pytest.raises(ConfigError, match="num_steps"):
        ecl.verify(snn, model, [inputs()], num_steps=0)
    other = nn.Sequential(nn.Linear(5, 3), nn.ReLU())
    with pytest.raises(ConfigError, match="the ANN has no activation 3: give the network"):
        ecl.verify(snn, other, [inputs()], num_steps=4)


def test_a_network_without_neurons_has_nothing_to_compare() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    ann = ecl.calibrate(ecl.prepare(model), [inputs()], progress=False)
    plain = {ecl.ThresholdClip: lambda module, site: snntorch.Leaky(0.9, init_hidden=True)}
    snn = ecl.convert(ann, handlers=plain)
    with pytest.raises(ConfigError, match="no dual-threshold neuron: there is nothing to compare"):
        ecl.verify(snn, model, [inputs()], num_steps=4)
