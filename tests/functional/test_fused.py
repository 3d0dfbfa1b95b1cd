"""The compiled time loop against the plain one, bit for bit."""

import warnings
from typing import Any

import pytest
import snntorch.surrogate
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import ThresholdClip
from snntorch_ecl import functional as F
from snntorch_ecl.errors import ConfigError, InputError, StateError
from snntorch_ecl.functional import _fused as fused
from tests.helpers.compilers import only_traced

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own


def currents(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) * 0.7


def assert_equal_scans(
    current: Tensor, threshold: Any, state: F.State | None = None, **settings: Any
) -> None:
    with torch.no_grad():
        spikes, after, _ = fused.scan(current, threshold, state, **settings)
        expected, expected_after = F.scan(current, threshold, state, **settings)
    assert torch.equal(spikes, expected)
    assert torch.equal(after.mem, expected_after.mem)
    assert torch.equal(after.spike_count, expected_after.spike_count)
    assert (spikes.dtype, after.spike_count.dtype) == (expected.dtype, torch.int32)


@pytest.mark.parametrize(
    ("num_steps", "piece"),
    [(7, 3), *(pytest.param(n, 8, marks=pytest.mark.slow) for n in (1, 3, 19))],
)
def test_spikes_and_state_are_equal_for_any_number_of_steps(
    num_steps: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two whole pieces and a part; weekly, one and some."""
    monkeypatch.setattr(fused, "_PIECE", piece)
    if num_steps > 1:  # the comparison is worth something
        assert (F.scan(currents(num_steps, 64, 33), 0.8)[0] == -1).any()
    assert_equal_scans(currents(num_steps, 64, 33), 0.8)


@pytest.mark.parametrize("negative_threshold", [-1e-3, -0.4, -torch.inf])
def test_spikes_are_equal_for_each_kind_of_neuron(negative_threshold: float) -> None:
    assert_equal_scans(
        currents(3, 64, 33), 0.8, negative_threshold=negative_threshold, initial_membrane=0.25
    )


@pytest.mark.slow  # with an amplitude as well: below
def test_thresholds_of_channels() -> None:
    assert_equal_scans(currents(3, 8, 6, 5, 5), torch.linspace(0.2, 2.0, 6).view(6, 1, 1))


def test_currents_that_are_a_view() -> None:
    assert_equal_scans(currents(64, 33).unsqueeze(0).expand(3, 64, 33), 0.8)
    assert_equal_scans(currents(3, 33, 64).transpose(1, 2), 0.8)


def test_in_half_precision_spikes_are_those_of_single_precision() -> None:
    current = currents(3, 64, 33).bfloat16()
    with torch.no_grad():
        exact = F.scan(current.float(), 0.75)[0]
        compiled = fused.scan(current, 0.75)[0]
        assert torch.equal(F.scan(current, 0.75)[0].float(), exact)
    assert torch.equal(compiled.float(), exact)


def test_a_learned_threshold_may_have_crossed_zero() -> None:
    """The optimiser moves a raw value that is reflected; a run must not refuse it."""
    snn = ecl.convert(nn.Sequential(nn.Linear(3, 3), ThresholdClip(4, 0.5), nn.Linear(3, 2)))
    neuron = next(iter(snn.neurons.values()))
    images = currents(5, 3)
    with torch.no_grad(), only_traced():
        expected = snn(images, num_steps=4)
        neuron.threshold = nn.Parameter(-neuron.threshold)
        assert torch.equal(snn.compile()(images, num_steps=4), expected)


def test_a_threshold_that_was_broken_names_its_layer() -> None:
    snn = ecl.convert(nn.Sequential(nn.Linear(3, 3), ThresholdClip(4, 0.5), nn.Linear(3, 2)))
    next(iter(snn.neurons.values())).threshold.fill_(-1.0)
    with torch.no_grad(), pytest.raises(ConfigError, match=r"^1: threshold must be finite and > 0"):
        snn.compile()(currents(5, 3), num_steps=4)


def test_the_sum_of_the_membranes_is_that_of_the_present_ones() -> None:
    neuron = ecl.DualThreshold(0.8, init_hidden=True)
    neuron.fused = True
    with torch.no_grad():
        neuron(currents(3 * 5, 3), num_steps=3)
        assert torch.allclose(neuron.mem_sum, neuron.mem.sum(), atol=1e-5)
        neuron.select(torch.tensor([True, False, True, False, False]))
        assert torch.allclose(neuron.mem_sum, neuron.mem.sum(), atol=1e-5)
        neuron.mem = torch.full((2,), 3.0)
        assert float(neuron.mem_sum) == 6.0


def test_a_sequence_can_be_cut_anywhere() -> None:
    current = currents(4, 64, 33)
    with torch.no_grad():
        whole, _ = F.scan(current, 0.8)
        first, state, _ = fused.scan(current[:3], 0.8)
        before = (state.mem.clone(), state.spike_count.clone())
        second, _, _ = fused.scan(current[3:], 0.8, state)
    assert torch.equal(torch.cat((first, second)), whole)
    assert torch.equal(state.mem, before[0])  # the state given is left as it was
    assert torch.equal(state.spike_count, before[1])


@pytest.mark.parametrize(
    ("threshold", "amplitude"),
    [
        pytest.param(0.8, torch.tensor(3.0), marks=pytest.mark.slow),
        pytest.param(0.8, torch.linspace(1.0, 2.0, 6).view(6, 1, 1), marks=pytest.mark.slow),
        pytest.param(
            torch.linspace(0.2, 2.0, 6).view(6, 1, 1), torch.tensor(3.0), marks=pytest.mark.slow
        ),
        (torch.linspace(0.2, 2.0, 6).view(6, 1, 1), torch.linspace(1.0, 2.0, 6).view(6, 1, 1)),
    ],
)
@pytest.mark.parametrize("grad", [False, True])
def test_spikes_worth_an_amplitude(threshold: Any, amplitude: Tensor, grad: bool) -> None:
    current = currents(3, 8, 6, 5, 5)
    with torch.set_grad_enabled(grad):
        spikes, _, _ = fused.scan(current, threshold, amplitude=amplitude)
    expected, _ = F.scan(current, threshold)
    assert torch.equal(spikes, expected * amplitude)


def test_gradients_are_those_of_the_plain_loop() -> None:
    leaf = currents(4, 64, 33).requires_grad_()
    spikes, _, _ = fused.scan(leaf, 0.8, spike_grad=snntorch.surrogate.atan())
    spikes.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((torch.zeros(0, 3), 1.0), InputError),
        ((torch.zeros(2, 3), -1.0), ConfigError),
        ((torch.zeros(2, 3), 1.0, F.fresh_state(torch.zeros(4))), StateError),
    ],
)
def test_bad_input_is_refused_as_by_the_plain_loop(arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error), torch.no_grad():
        fused.scan(*arguments)


# ---------------------------------------------------------------------------------- a network


def test_a_fused_network_spikes_alike_and_can_be_undone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
    ann = ecl.prepare(nn.Sequential(model, nn.Flatten(), nn.Linear(128, 5)))
    ann.train()(torch.rand(4, 3, 8, 8))
    snn = ecl.convert(ann)
    images = torch.rand(4, 3, 8, 8)
    with torch.no_grad(), only_traced():
        plain = snn.logits_over_time(images, num_steps=4)
        assert snn.compile() is snn
        assert all(neuron.fused for neuron in snn.neurons.values())
        assert torch.equal(snn.logits_over_time(images, num_steps=4), plain)
        snn.compile(False)
        assert not any(neuron.fused for neuron in snn.neurons.values())
        assert torch.equal(snn.logits_over_time(images, num_steps=4), plain)


# ------------------------------------------------------------------------ without a compiler


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_it_says_so_once_and_goes_on() -> None:
    current = currents(4, 64, 33)
    with torch.no_grad():
        with pytest.warns(
            UserWarning, match=r"'cpu', .* plain tensor operations: .*no C\+\+ compiler$"
        ):
            spikes, _, _ = fused.scan(current, 0.8)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again, _, _ = fused.scan(current, 0.8)
        assert torch.equal(spikes, F.scan(current, 0.8)[0])
        assert torch.equal(again, spikes)
