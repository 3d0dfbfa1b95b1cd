"""Gradients through the neuron, and snnTorch's own tools on it."""

from __future__ import annotations

import math
import warnings

import matplotlib as mpl
import pytest
import snntorch as snn
import torch
from snntorch import surrogate
from snntorch.functional import probe
from torch import nn

from snntorch_ecl import DualThreshold
from tests.helpers import oracles
from tests.helpers.currents import CURRENTS, SPIKES, dyadic, hidden, run

# ------------------------------------------------------------------------------------ training


SEQUENCES = {
    "fires and takes back": [0.75, -0.875, 0.25],
    "silent": [0.25, -0.125, 0.0],
    "fires on the tie": [0.5, 0.5, -0.25],
}


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("currents", SEQUENCES.values(), ids=SEQUENCES)
@pytest.mark.parametrize("lower", [-1e-3, -0.25])
def test_surrogate_gradients_through_both_thresholds(
    currents: list[float], lower: float, at_once: bool
) -> None:
    theta, weights = 1.25, [1.0, 3.0, -2.0]
    neuron = hidden(threshold=theta, learn_threshold=True, negative_threshold=lower).double()
    x = torch.tensor(currents, dtype=torch.float64).unsqueeze(1).requires_grad_()
    spikes = neuron(x.flatten(), num_steps=3) if at_once else run(neuron, x).flatten()
    assert spikes.tolist() == oracles.DualThresholdNeuron(theta, lower).run(currents)
    (spikes * torch.tensor(weights)).sum().backward()
    by_current, by_theta = oracles.surrogate_gradients(currents, weights, theta, lower)
    assert x.grad.flatten().tolist() == pytest.approx(by_current, rel=1e-6)
    assert neuron.threshold.grad.item() == pytest.approx(by_theta, rel=1e-6)


@pytest.mark.parametrize(
    "spike_grad", [None, surrogate.fast_sigmoid(slope=5), surrogate.straight_through_estimator()]
)
def test_a_surrogate_changes_gradients_but_no_spike(spike_grad) -> None:
    neuron = hidden(spike_grad=spike_grad)
    x = CURRENTS.clone().requires_grad_()
    spikes = run(neuron, x)
    assert torch.equal(spikes, SPIKES)
    spikes.sum().backward()
    assert x.grad.abs().sum() > 0


def test_surrogate_function_is_used() -> None:
    """Straight-through: ds/dI = 1/θ, twice that where a spike could be taken back."""
    x = torch.tensor([[0.75], [0.25]], requires_grad=True)
    neuron = hidden(threshold=2.0, spike_grad=surrogate.straight_through_estimator())
    run(neuron, x).sum().backward()
    assert x.grad.flatten().tolist() == [1.0, 0.5]
    x = torch.tensor([[1.0], [0.25]], requires_grad=True)
    neuron.reset_mem()
    run(neuron, x).sum().backward()  # the first step fires: n > 0 in the second
    assert x.grad.flatten().tolist() == [1.5, 1.0]


def test_surrogate_disable_gives_the_same_spikes_without_gradient() -> None:
    spikes = run(hidden(surrogate_disable=True), CURRENTS.clone().requires_grad_())
    assert torch.equal(spikes, SPIKES)
    assert not spikes.requires_grad


def test_learned_threshold_is_a_parameter_that_stays_positive() -> None:
    neuron = hidden(threshold=0.5, learn_threshold=True)
    assert [name for name, _ in neuron.named_parameters()] == ["threshold"]
    opt = torch.optim.SGD(neuron.parameters(), lr=50.0)
    crossed = False
    for _ in range(10):
        neuron.reset_mem()
        opt.zero_grad()
        spikes = run(neuron, CURRENTS)
        assert bool(spikes.isfinite().all())
        (-spikes).sum().backward()
        opt.step()
        crossed |= neuron.threshold.item() <= 0
    assert crossed


def test_learned_spike_factor_is_a_parameter_with_the_spikes_as_gradient() -> None:
    neuron = hidden(learn_graded_spikes_factor=True)
    run(neuron, CURRENTS).sum().backward()
    assert [name for name, _ in neuron.named_parameters()] == ["graded_spikes_factor"]
    assert neuron.graded_spikes_factor.grad == SPIKES.sum()


@pytest.mark.parametrize("kind", ["BPTT", "TBPTT"])
def test_snntorchs_training_loops_change_the_weights(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from snntorch import backprop
    from snntorch.functional import ce_rate_loss

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), hidden(), nn.Linear(6, 2), hidden(output=True))
    before = [p.clone() for p in net.parameters()]
    data = [(dyadic(3, 4, seed=s, low=0), torch.tensor([0, 1, 0])) for s in range(2)]
    extra = {"K": 2} if kind == "TBPTT" else {}
    loss = getattr(backprop, kind)(
        net,
        data,
        optimizer=torch.optim.Adam(net.parameters(), lr=0.05),
        criterion=ce_rate_loss(),
        num_steps=4,
        time_var=False,
        **extra,
    )
    assert math.isfinite(loss.item())
    assert all(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


# --------------------------------------------------------------------------- snnTorch's tools


def test_probe_monitors_record_every_step() -> None:
    net = nn.Sequential(hidden())
    spikes = probe.OutputMonitor(net, instance=snn.Leaky)
    membranes = probe.AttributeMonitor("mem", False, net, instance=DualThreshold)
    run(net, CURRENTS)
    assert torch.equal(torch.stack(spikes.records), SPIKES)
    expected = (CURRENTS - SPIKES).cumsum(0)
    assert torch.equal(torch.stack(membranes["0"]), expected)


def test_raster_plots_one_dot_a_spike() -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from snntorch import spikeplot

    fig, ax = plt.subplots()
    dots = spikeplot.raster(run(hidden(), CURRENTS)[:, 0], ax)
    plt.close(fig)
    assert len(dots.get_offsets()) == int(SPIKES[:, 0].abs().sum())
