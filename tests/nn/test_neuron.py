"""DualThreshold keeps snnTorch's contract, and the oracle's spikes."""

from __future__ import annotations

import inspect
import math

import pytest
import snntorch as snn
import torch
from snntorch import utils
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import DualThreshold
from snntorch_ecl.errors import ConfigError, InputError, StateError
from tests.helpers import oracles
from tests.helpers.currents import CURRENTS, SPIKES, dyadic, hidden, oracle_spikes, run

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
    with pytest.raises(InputError, match=r"7 rows.*3 equal time steps"):
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


def test_before_the_first_step_there_is_no_membrane() -> None:
    assert DualThreshold(torch.ones(3)).membrane.shape == (0,)
