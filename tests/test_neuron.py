"""DualThreshold keeps snnTorch's contract, and the oracle's spikes."""

from __future__ import annotations

import copy
import gc
import inspect
import math
import pickle
import subprocess
import sys
import warnings
import weakref

import matplotlib as mpl
import pytest
import snntorch as snn
import torch
from snntorch import surrogate, utils
from snntorch.functional import probe
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import DualThreshold
from snntorch_ecl.errors import ConfigError, InputError, StateError
from tests import oracles


def dyadic(*shape: int, seed: int = 0, low: int = -24, high: int = 25) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, shape, generator=generator) / 16


def oracle_spikes(currents: Tensor, threshold: float = 1.0) -> Tensor:
    """[T, ...] currents through one oracle neuron each."""
    columns = currents.flatten(1).T.tolist()
    spikes = [oracles.DualThresholdNeuron(threshold).run(column) for column in columns]
    return torch.tensor(spikes, dtype=currents.dtype).T.reshape(currents.shape)


def hidden(**settings) -> DualThreshold:
    return DualThreshold(init_hidden=True, **settings)


def run(neuron: nn.Module, currents: Tensor) -> Tensor:
    return torch.stack([neuron(current) for current in currents])


CURRENTS = dyadic(8, 3, 4)
SPIKES = oracle_spikes(CURRENTS)


# ------------------------------------------------------------------------- forward's contract


def test_it_is_a_leaky_with_its_names_order_and_defaults() -> None:
    assert issubclass(DualThreshold, snn.Leaky)
    own = inspect.signature(DualThreshold).parameters
    leaky = inspect.signature(snn.Leaky).parameters
    shared = [name for name in own if name in leaky]
    assert shared == [name for name in leaky if name in own]
    assert {name: own[name].default for name in shared} == {n: leaky[n].default for n in shared}
    assert len(shared) >= 8
    assert own["negative_threshold"].default == -1e-3
    assert own["initial_membrane"].default == 0.5


def test_default_neuron_spikes_like_the_oracle() -> None:
    neuron = DualThreshold()
    spikes, mem = [], None
    for current in CURRENTS:
        spk, mem = neuron(current, mem)
        spikes.append(spk)
    assert torch.equal(torch.stack(spikes), SPIKES)
    assert torch.equal(mem, CURRENTS.sum(0) - SPIKES.sum(0))


@pytest.mark.parametrize("lower", [-0.5, -math.inf])
@pytest.mark.parametrize("initial", [0.0, 1.0])
def test_settings_reach_the_equations(lower: float, initial: float) -> None:
    neuron = hidden(threshold=0.75, negative_threshold=lower, initial_membrane=initial)
    expected = [
        oracles.DualThresholdNeuron(0.75, lower, initial).run(column)
        for column in CURRENTS.flatten(1).T.tolist()
    ]
    assert run(neuron, CURRENTS).flatten(1).T.tolist() == expected


def test_returns_spikes_and_membrane_or_spikes_alone() -> None:
    x = CURRENTS[0]
    spk, mem = DualThreshold()(x)
    assert torch.equal(spk, SPIKES[0])
    assert torch.equal(mem, x - SPIKES[0])
    assert torch.equal(hidden()(x), spk)
    both = hidden(output=True)(x)
    assert torch.equal(both[0], spk)
    assert torch.equal(both[1], mem)


def test_passing_mem_with_init_hidden_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"`mem` should not be passed.*`init_hidden=True`"):
        hidden()(CURRENTS[0], torch.zeros(3, 4))


def test_absolute_membrane_starts_at_half_the_threshold() -> None:
    neuron = hidden(threshold=torch.tensor([1.0, 3.0]))
    neuron(torch.zeros(2, 2))
    assert neuron.membrane.tolist() == [[0.5, 1.5], [0.5, 1.5]]
    neuron(torch.tensor([[0.25, 2.0], [1.0, -1.0]]))
    assert neuron.membrane.tolist() == [[0.75, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("factor", [0.5, torch.tensor([0.5, 1.0, 2.0, 4.0])])
def test_spikes_are_scaled_by_the_graded_factor_and_nothing_else_is(factor, grad: bool) -> None:
    neuron = hidden(graded_spikes_factor=factor)
    with torch.set_grad_enabled(grad):
        assert torch.equal(run(neuron, CURRENTS), SPIKES * factor)
        ecl.reset(neuron)
        at_once = neuron(CURRENTS.flatten(0, 1), num_steps=8)
    assert torch.equal(at_once, (SPIKES * factor).flatten(0, 1))
    assert torch.equal(neuron.mem, CURRENTS.sum(0) - SPIKES.sum(0))
    assert torch.equal(neuron.spike_count, SPIKES.sum(0).int())


def test_thresholds_per_channel_equal_neurons_one_by_one() -> None:
    thetas = [0.5, 1.0, 2.0, 0.75]
    currents = dyadic(8, 2, 4, 3)
    together = run(hidden(threshold=torch.tensor(thetas)), currents)
    for channel, theta in enumerate(thetas):
        assert torch.equal(together[:, :, channel], oracle_spikes(currents[:, :, channel], theta))


class Tutorial(nn.Module):
    """The network of snnTorch's tutorials, with its explicit loop over time."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(4, 3, bias=False), DualThreshold()
        self.fc2, self.lif2 = nn.Linear(3, 2, bias=False), DualThreshold()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.reset_mem()
        spk2_rec, mem2_rec = [], []
        for step in range(x.size(0)):
            cur1 = self.fc1(x[step])
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec), torch.stack(mem2_rec)


def test_tutorial_network_runs_unchanged_and_spikes_like_the_oracle() -> None:
    net = Tutorial()
    net.fc1.weight.data, net.fc2.weight.data = dyadic(3, 4, seed=1), dyadic(2, 3, seed=2)
    taken_back = 0
    for seed, batch in ((3, 3), (4, 5)):  # a second sequence, of another batch size
        x = dyadic(8, batch, 4, seed=seed)
        spk, _ = net(x)
        for b in range(batch):
            first = [oracles.DualThresholdNeuron(1) for _ in range(3)]
            second = [oracles.DualThresholdNeuron(1) for _ in range(2)]
            for t in range(8):
                drive = oracles.linear(net.fc1.weight.tolist(), x[t, b].tolist())
                inner = [n.step(current) for n, current in zip(first, drive, strict=True)]
                drive = oracles.linear(net.fc2.weight.tolist(), inner)
                outer = [n.step(current) for n, current in zip(second, drive, strict=True)]
                assert spk[t, b].tolist() == outer
        taken_back += int((spk < 0).sum())
    assert taken_back > 0


def test_two_sequences_through_one_neuron_keep_their_own_counts() -> None:
    neuron, other = DualThreshold(), dyadic(8, 3, 4, seed=5)
    mem_a = mem_b = torch.zeros(3, 4)
    for t in range(8):
        spk_a, mem_a = neuron(CURRENTS[t], mem_a)
        spk_b, mem_b = neuron(other[t], mem_b)
        assert torch.equal(spk_a, SPIKES[t])
        assert torch.equal(spk_b, oracle_spikes(other)[t])


@pytest.mark.parametrize("cut", [Tensor.detach, Tensor.detach_])
def test_detaching_the_membrane_keeps_the_count(cut) -> None:
    neuron, mem, spikes = DualThreshold(), None, []
    for current in CURRENTS.clone().requires_grad_():
        spk, mem = neuron(current, mem)
        mem = cut(mem)
        spikes.append(spk.detach())
    assert torch.equal(torch.stack(spikes), SPIKES)


def test_any_other_membrane_starts_a_sequence_at_count_zero() -> None:
    neuron = DualThreshold()
    spk, _ = neuron(torch.tensor([0.5]))
    assert spk.item() == 1
    spk, _ = neuron(torch.tensor([-2.0]), torch.zeros(1))
    assert spk.item() == 0


# ---------------------------------------------------------------------------------- num_steps


@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("threshold", [0.3, torch.tensor([0.3, 0.7, 1.1, 2.0])])
def test_a_whole_sequence_equals_stepping_bit_for_bit(
    threshold: float | Tensor, grad: bool
) -> None:
    currents = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0))
    stepped, at_once = hidden(threshold=threshold), hidden(threshold=threshold)
    spikes = run(stepped, currents).flatten(0, 1)
    with torch.set_grad_enabled(grad):
        assert torch.equal(at_once(currents.flatten(0, 1), num_steps=6), spikes)
    assert torch.equal(at_once.mem, stepped.mem)
    assert torch.equal(at_once.spike_count, stepped.spike_count)


def test_a_held_input_equals_its_repetition() -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    repeated = hidden()(x.repeat(5, 1), num_steps=5)
    assert torch.equal(hidden()(x, num_steps=5, held=5), repeated)
    assert torch.equal(repeated.view(5, 3, 4), run(hidden(), x.expand(5, 3, 4)))


def test_sequences_and_single_steps_may_alternate() -> None:
    neuron = hidden()
    spikes = [neuron(CURRENTS[:3].flatten(0, 1), num_steps=3).view(3, 3, 4)]
    spikes.append(neuron(CURRENTS[3]).unsqueeze(0))
    spikes.append(neuron(CURRENTS[4:].flatten(0, 1), num_steps=4).view(4, 3, 4))
    assert torch.equal(torch.cat(spikes), SPIKES)


def test_rows_that_are_no_multiple_of_the_steps_are_refused() -> None:
    with pytest.raises(InputError, match=r"7 rows.*3 steps"):
        hidden()(torch.ones(7, 2), num_steps=3)


@pytest.mark.parametrize("num_steps", [0, -1, True, 2.0])
def test_num_steps_must_be_a_positive_integer(num_steps: object) -> None:
    with pytest.raises(ConfigError, match=f"num_steps.*{num_steps}"):
        hidden()(torch.ones(4, 2), num_steps=num_steps)


# -------------------------------------------------------------------------------------- reset


RESETS = {
    "utils.reset": lambda net: utils.reset(net),
    "reset_mem": lambda net: net[0].reset_mem(),
    "init_leaky": lambda net: net[0].init_leaky(),
    "reset_hidden": lambda net: snn.Leaky.reset_hidden(),
    "ecl.reset": lambda net: ecl.reset(net),
    "assignment": lambda net: setattr(net[0], "mem", torch.zeros_like(net[0].mem)),
}


@pytest.mark.parametrize("reset", RESETS.values(), ids=RESETS)
def test_after_a_reset_the_neuron_is_fresh_count_too(reset) -> None:
    net = nn.Sequential(hidden())
    run(net, CURRENTS)
    assert net[0].spike_count.any()
    reset(net)
    assert not net[0].mem.any()
    assert not net[0].spike_count.any()
    assert torch.equal(run(net, CURRENTS), SPIKES)


def test_reset_cuts_the_graph() -> None:
    neuron = hidden()
    run(neuron, CURRENTS.clone().requires_grad_())
    assert neuron.mem.requires_grad
    assert not neuron.reset_mem().requires_grad


def test_reset_reaches_any_depth_and_no_other_network() -> None:
    deep = nn.Sequential(nn.Sequential(nn.ModuleDict({"lif": hidden()})))
    inside, outside = deep[0][0]["lif"], hidden()
    for neuron in (inside, outside):
        run(neuron, CURRENTS)
    ecl.reset(deep)
    assert not inside.spike_count.any()
    assert outside.spike_count.any()


@pytest.mark.parametrize("num_steps", [None, 2])
@pytest.mark.parametrize("current", [torch.ones(4), torch.zeros(4)])
def test_changing_the_batch_in_the_middle_of_a_sequence_is_an_error(
    current: Tensor, num_steps: int | None
) -> None:
    neuron = hidden()
    neuron(current)
    with pytest.raises(StateError, match=r"\[4\] to \[2\].*reset"):
        neuron(torch.ones(2 * (num_steps or 1)), num_steps=num_steps)


@pytest.mark.parametrize("reset", RESETS.values(), ids=RESETS)
def test_after_a_reset_any_batch_is_welcome(reset) -> None:
    net = nn.Sequential(hidden())
    run(net, CURRENTS)
    reset(net)
    assert torch.equal(run(net, CURRENTS[:, :2]), SPIKES[:, :2])


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


# ------------------------------------------------------------------------ copies, files, moves


COPIES = {
    "copy.copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda neuron: pickle.loads(pickle.dumps(neuron)),
}


@pytest.mark.parametrize("twin_of", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("spike_grad", [None, surrogate.fast_sigmoid(slope=7)])
def test_a_copy_made_in_mid_training_is_fresh_and_equal(twin_of, spike_grad) -> None:
    neuron = hidden(threshold=0.75, negative_threshold=-0.5, spike_grad=spike_grad)
    x = CURRENTS.clone().requires_grad_()
    expected = run(neuron, x)
    expected.sum().backward()
    twin, y = twin_of(neuron), CURRENTS.clone().requires_grad_()
    spikes = run(twin, y)
    spikes.sum().backward()
    assert torch.equal(spikes, expected)
    assert torch.equal(y.grad, x.grad)  # the same surrogate, with its slope


@pytest.mark.parametrize("twin_of", COPIES.values(), ids=COPIES)
def test_a_copy_hears_of_snntorchs_reset(twin_of) -> None:
    net = nn.Sequential(twin_of(hidden()))
    run(net, CURRENTS)
    utils.reset(net)
    assert torch.equal(run(net, CURRENTS), SPIKES)


def test_copying_leaves_the_running_sequence_alone() -> None:
    neuron = hidden()
    run(neuron, CURRENTS[:4])
    copy.deepcopy(neuron)
    pickle.dumps(neuron)
    assert torch.equal(run(neuron, CURRENTS[4:]), SPIKES[4:])


def test_deepcopy_of_a_network_keeps_shared_neurons_shared() -> None:
    neuron = hidden()
    twin = copy.deepcopy(nn.Sequential(neuron, nn.Identity(), neuron))
    assert twin[0] is twin[2]
    assert twin[0] is not neuron


@pytest.mark.parametrize("learn", [False, True])
def test_state_dict_of_thresholds_per_channel_fits_a_scalar_one(learn: bool) -> None:
    thetas = torch.tensor([0.5, 1.0, 2.0, 0.75])
    source = hidden(threshold=thetas, graded_spikes_factor=thetas, learn_threshold=learn)
    target = hidden(learn_threshold=learn)
    target.load_state_dict(source.state_dict())
    assert torch.equal(run(target, CURRENTS), run(source, CURRENTS))


def test_state_dict_keys_are_leakys_and_hold_no_sequence() -> None:
    neuron = hidden()
    run(neuron, CURRENTS)
    assert set(neuron.state_dict()) == set(snn.Leaky(beta=1.0).state_dict())


def test_a_bad_threshold_in_a_file_is_named() -> None:
    net = nn.Sequential(hidden())
    state = {**net.state_dict(), "0.threshold": torch.tensor([1.0, -2.0])}
    with pytest.raises(ConfigError, match=r"0\.threshold.*-2.*\[1\]"):
        net.load_state_dict(state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("cast_module", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_spikes_have_the_dtype_of_the_input(
    dtype: torch.dtype, cast_module: bool, grad: bool
) -> None:
    neuron = hidden(threshold=torch.ones(4), graded_spikes_factor=torch.ones(4), output=True)
    if cast_module:
        neuron.to(dtype)
    for current, expected in zip(CURRENTS.to(dtype).requires_grad_(grad), SPIKES, strict=True):
        spk, mem = neuron(current)
        assert spk.dtype == mem.dtype == dtype
        assert torch.equal(spk.float(), expected)


def test_state_follows_the_module_to_another_dtype() -> None:
    neuron = hidden()
    run(neuron, CURRENTS[:4])
    neuron.double()
    assert neuron.mem.dtype == torch.float64
    assert neuron.spike_count.dtype == torch.int32
    assert torch.equal(run(neuron, CURRENTS[4:].double()), SPIKES[4:].double())


def test_state_follows_the_module_to_another_device() -> None:
    neuron = hidden()
    run(neuron, CURRENTS)
    neuron.to("meta")
    assert neuron.mem.device.type == neuron.spike_count.device.type == "meta"
    assert neuron(CURRENTS[0].to("meta")).device.type == "meta"


# ---------------------------------------------------------------------------- compile, export


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch looks at the state's .grad
def test_compiled_in_one_graph_it_spikes_the_same_step_by_step() -> None:
    torch.compiler.reset()
    net = nn.Sequential(nn.Linear(4, 5), hidden(), nn.Linear(5, 2), hidden(threshold=0.5))
    expected = run(net, CURRENTS)
    expected.sum().backward()
    gradient, net[0].weight.grad = net[0].weight.grad, None
    ecl.reset(net)
    spikes = run(torch.compile(net, fullgraph=True, backend="eager"), CURRENTS)
    spikes.sum().backward()
    assert torch.equal(spikes, expected)
    torch.testing.assert_close(net[0].weight.grad, gradient)


def test_compiled_with_an_explicit_membrane_it_keeps_the_count() -> None:
    torch.compiler.reset()
    neuron = torch.compile(DualThreshold(), fullgraph=True, backend="eager")
    mem, spikes = torch.zeros(3, 4), []
    for current in CURRENTS:
        spk, mem = neuron(current, mem)
        spikes.append(spk)
    assert torch.equal(torch.stack(spikes), SPIKES)


def test_compiled_it_runs_a_whole_sequence() -> None:
    torch.compiler.reset()
    neuron = torch.compile(hidden(), fullgraph=True, backend="eager")
    assert torch.equal(neuron(CURRENTS.flatten(0, 1), num_steps=8), SPIKES.flatten(0, 1))


def test_compiled_it_takes_another_batch_after_a_reset() -> None:
    """The last batch of an epoch is smaller."""
    torch.compiler.reset()
    neuron = hidden()
    compiled = torch.compile(neuron, fullgraph=True, backend="eager")
    assert torch.equal(run(compiled, CURRENTS), SPIKES)
    ecl.reset(neuron)
    assert torch.equal(run(compiled, CURRENTS[:, :2]), SPIKES[:, :2])


@pytest.mark.parametrize("explicit", [False, True])
def test_exported_it_spikes_the_same(explicit: bool) -> None:
    neuron = DualThreshold(init_hidden=not explicit)
    args = (CURRENTS[0], torch.zeros(3, 4)) if explicit else (CURRENTS[0],)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch: state is no buffer, as intended
        exported = torch.export.export(neuron, args, strict=False).module()
    out = exported(*args)
    spk = out[0] if explicit else out
    assert torch.equal(spk, SPIKES[0])


def test_exported_as_a_whole_sequence_it_spikes_the_same() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        exported = torch.export.export(
            hidden(), (CURRENTS.flatten(0, 1),), {"num_steps": 8}, strict=False
        ).module()
    assert torch.equal(exported(CURRENTS.flatten(0, 1), num_steps=8), SPIKES.flatten(0, 1))


# ------------------------------------------------------------------------ lifetimes, thresholds


def births() -> int:
    return len(snn.SpikingNeuron.instances)


@pytest.mark.parametrize("twin_of", [lambda n: n, *COPIES.values()], ids=["new", *COPIES])
def test_a_thousand_neurons_leave_no_trace(twin_of) -> None:
    """By reference counts alone: the garbage collector is off."""
    gc.collect()
    before = births()
    gc.disable()
    try:
        for _ in range(1000):
            neuron = twin_of(hidden())
            neuron(torch.ones(1))
        last = weakref.ref(neuron)
        del neuron
        assert last() is None
        assert births() == before
    finally:
        gc.enable()


def test_a_living_neuron_is_enlisted_once() -> None:
    before = births()
    neuron = hidden()
    assert births() == before + 1
    assert snn.SpikingNeuron.instances[-1].extra_repr() == neuron.extra_repr()


def test_a_neuron_that_outlives_the_modules_dies_in_silence() -> None:
    program = "import torch; from snntorch_ecl import DualThreshold; torch.kept = DualThreshold()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["threshold", "graded_spikes_factor"])
@pytest.mark.parametrize("learn", [False, True])
def test_a_tensor_setting_is_copied(name: str, learn: bool) -> None:
    value = torch.tensor([1.0, 2.0])
    neuron = DualThreshold(**{name: value, f"learn_{name}": learn})
    value.fill_(9.0)
    assert getattr(neuron, name).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("name", ["threshold", "graded_spikes_factor"])
@pytest.mark.parametrize("value", [2, torch.tensor(2), torch.tensor([2, 2])])
def test_an_integer_setting_becomes_float(name: str, value: int | Tensor) -> None:
    neuron = DualThreshold(**{name: value})
    assert getattr(neuron, name).dtype == torch.float32
    neuron.half()
    assert getattr(neuron, name).dtype == torch.float16


@pytest.mark.parametrize("name", ["threshold", "graded_spikes_factor"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("make", [float, torch.tensor, lambda v: torch.tensor([1.0, v])])
def test_settings_must_be_positive_and_finite(name: str, make, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}.*{value:g}"):
        DualThreshold(**{name: make(value)})


def test_two_dimensional_thresholds_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"threshold.*\[2, 3\]"):
        DualThreshold(torch.ones(2, 3))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("negative_threshold", 0.5), ("negative_threshold", math.nan), ("initial_membrane", 1.5)],
)
def test_settings_out_of_range_are_named_at_construction(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{setting}.*{value}"):
        DualThreshold(**{setting: value})


def test_thresholds_must_match_the_channels() -> None:
    with pytest.raises(InputError, match=r"2 thresholds.*\[4, 3\]"):
        hidden(threshold=torch.ones(2))(torch.ones(4, 3))


@pytest.mark.parametrize(
    ("threshold", "shown"), [(1.5, "threshold=1.5"), (torch.tensor([0.5, 2.0]), "[0.5 … 2]")]
)
def test_printing_shows_the_settings(threshold: float | Tensor, shown: str) -> None:
    text = repr(DualThreshold(threshold, negative_threshold=-0.25, initial_membrane=0.75))
    assert shown in text
    assert "negative_threshold=-0.25" in text
    assert "initial_membrane=0.75" in text


def test_interleaved_sequences_keep_their_counts_when_detached() -> None:
    neuron = DualThreshold()
    _, first = neuron(torch.tensor([0.8]))
    neuron(torch.tensor([-3.0]), torch.zeros(1))
    spk, _ = neuron(torch.tensor([-0.8]), first.detach())
    assert spk.item() == -1


def test_a_part_of_a_membrane_starts_a_sequence_of_its_own() -> None:
    neuron = DualThreshold()
    _, mem = neuron(torch.full((4,), 0.8))
    spk, _ = neuron(torch.full((2,), -0.8), mem[:2])
    assert spk.tolist() == [0.0, 0.0]
