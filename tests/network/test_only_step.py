"""Runs of one step, of which no state is kept: the same answers, and it is said where it is not."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

import snntorch_ecl as ecl
from snntorch_ecl import DualThreshold, SpikingNetwork, Temporal, ThresholdClip
from snntorch_ecl.errors import ConfigError, StateError
from snntorch_ecl.nn import Difference, unfold
from tests.helpers.nets import Net, over_kinds, spiking
from tests.helpers.parts import equal


def transformer() -> SpikingNetwork:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.Linear(8, 8), layer, nn.Flatten(), nn.Linear(40, 3)).eval()
    x = torch.randn(4, 5, 8)
    ann = ecl.prepare(model, signed=True, levels=2, example=x)
    return ecl.convert(ecl.calibrate(ann, [x], progress=False))


def small(**settings: Any) -> SpikingNetwork:
    torch.manual_seed(0)
    ann = nn.Sequential(
        nn.Conv2d(2, 4, 3), ThresholdClip(4, torch.tensor([0.3, 0.5, 0.7, 0.9])), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 2), ThresholdClip(4, 0.5), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip
    return ecl.convert(ann, **settings)


def images(rows: int = 3) -> Tensor:
    return torch.randn(rows, 2, 8, 8, generator=torch.Generator().manual_seed(1))


def kept(snn: SpikingNetwork, *inputs: Tensor) -> Any:
    """The same step by step, where a state is kept."""
    snn.reset()
    return snn.step(*inputs)


KINDS: dict[str, Callable[[], SpikingNetwork]] = {
    "rectified": small,
    "plain": lambda: small(negative_threshold=float("-inf")),
    "several sizes": lambda: small(spike_sizes=3),
    "unit spikes": lambda: small(unit_spikes=True),
    "levelled": lambda: ecl.levelled(small(), num_steps=1),
    "compiled": lambda: small().compile(whole=False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_is_that_of_a_step(kind: str) -> None:
    snn = KINDS[kind]()
    with torch.no_grad():
        assert torch.equal(snn(images(), num_steps=1), kept(snn, images()))


@over_kinds
def test_the_answer_is_that_of_a_step_in_any_network(net: Net) -> None:
    snn, inputs = spiking(net.name)[1], net.inputs()
    given = copy.deepcopy(inputs)
    with torch.inference_mode():
        assert equal(snn(*inputs, num_steps=1), kept(snn, *inputs))
    assert equal(inputs, given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_answer_is_that_of_a_step_with_attention(dtype: torch.dtype) -> None:
    snn, x = transformer().to(dtype), torch.randn(4, 5, 8, dtype=dtype)
    assert any(isinstance(module, Difference) for module in snn.modules())
    with torch.no_grad():
        assert torch.equal(snn(x, num_steps=1), kept(snn, x))


def test_nothing_is_kept_and_a_step_says_so() -> None:
    snn = small()
    with torch.no_grad():
        snn(images(), num_steps=1)
        assert all(neuron.mem.numel() == 0 for neuron in snn.neurons.values())
        with pytest.raises(StateError, match=r"or of one step: it kept no state .* Call reset\(\)"):
            snn.step(images())
        expected = snn(images(), num_steps=2)
        snn.reset()
        total = snn.step(images()) + snn.step(images())
    torch.testing.assert_close(total / 2, expected)


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_hook_sees_the_state(everywhere: bool) -> None:
    """As snnTorch's probes do."""
    snn, seen = small(), []
    neuron = snn.neurons["1"]

    def look(module: nn.Module, args: object, out: object) -> None:
        if module is neuron:
            seen.append(neuron.mem)

    hook = (register_module_forward_hook if everywhere else neuron.register_forward_hook)(look)
    try:
        with torch.no_grad():
            snn(images(), num_steps=1)
            kept(snn, images())
    finally:
        hook.remove()
    assert torch.equal(*seen)
    assert seen[0].numel() > 0


def test_with_gradients_the_state_is_kept() -> None:
    """A loss may read it."""
    snn = small()
    snn(images(), num_steps=1)
    assert all(neuron.mem.requires_grad for neuron in snn.neurons.values())


@pytest.mark.parametrize("bad", [float("nan"), 3e38])
def test_an_overflow_still_names_its_layer(bad: float) -> None:
    snn = small()
    with torch.no_grad():
        snn.net.get_submodule("3").weight.fill_(bad)
        with pytest.raises(StateError, match="the membrane of 4 is NaN or infinite"):
            snn(images(), num_steps=1)


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(x.sigmoid())


class Same(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Nested(nn.Module):
    """A user's layer, which takes its only step as a step of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.neuron = DualThreshold(0.5, init_hidden=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(x)


class Timed(Nested, Temporal):
    """A user's layer that lets neurons take several steps in one, or asks for their membranes."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor, *, num_steps: int = 1, held: int = 1) -> Tensor:
        return torch.cat([self.one(step) for step in unfold(x, num_steps, held)])

    def one(self, x: Tensor) -> Tensor:
        if self.how == "four calls":
            return torch.stack([self.neuron(x, num_steps=1) for _ in range(4)]).mean(0)
        if self.how == "four steps":
            return self.neuron(x, num_steps=4, held=4).unflatten(0, (4, -1)).mean(0)
        self.neuron(x, num_steps=1)
        return self.neuron.mem

    def reset_mem(self) -> None:
        self.neuron.reset_mem()


class Watched(DualThreshold):
    """A user's neuron, whose output is its membrane."""

    def forward(self, *args: Any, **settings: Any) -> Tensor:
        super().forward(*args, **settings)
        return self.mem


@pytest.mark.parametrize("how", ["plain", "four calls", "four steps", "membrane", "subclass"])
def test_neurons_of_a_users_layer_keep_their_state(how: str) -> None:
    def handler(module: nn.Module, site: Any) -> nn.Module:
        if how == "subclass":
            return Watched(0.5, init_hidden=True)
        return Nested() if how == "plain" else Timed(how)

    torch.manual_seed(0)
    ann = nn.Sequential(nn.Linear(4, 6), ThresholdClip(4, 0.5), nn.Linear(6, 2))
    snn = ecl.convert(ann, handlers={ThresholdClip: handler})
    x = 3 * torch.rand(3, 4)
    with torch.no_grad():
        assert torch.equal(snn(x, num_steps=1), snn(x, num_steps=1, piece=1))
        if how != "subclass":  # which gives one output for all steps
            total = snn(x, num_steps=1) + snn.step(x)  # it goes on
            torch.testing.assert_close(total / 2, snn(x, num_steps=2))


def test_many_thresholds_at_once() -> None:
    snn, x = small(), images()

    def run(threshold: Tensor) -> Tensor:
        changed = {"net.4.threshold": threshold}
        return torch.func.functional_call(snn, changed, (x,), {"num_steps": 1})

    with torch.no_grad():
        many = torch.tensor([0.3, 0.5, 0.9])
        torch.testing.assert_close(torch.vmap(run)(many), torch.stack([*map(run, many)]))


def test_after_an_error_another_thread_may_reset() -> None:
    snn = small()
    with torch.no_grad():
        expected = kept(snn, images())
        snn.neurons["4"].threshold.fill_(-1.0)
        for run in (lambda: snn(images(), num_steps=1), lambda: snn(images()[:, :, :3, :3])):
            with pytest.raises((ConfigError, ecl.errors.InputError, StateError)):
                run()
        snn.neurons["4"].threshold.fill_(0.5)
    found: list[Tensor] = []

    def work() -> None:
        for _ in range(2):
            with torch.no_grad():
                found.append(kept(snn, images()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [torch.equal(one, expected) for one in found] == [True, True]


@pytest.mark.parametrize(
    "f",
    [
        nn.SiLU(), nn.SiLU(inplace=True), InPlace(), Same(), nn.Identity(),
        nn.Sequential(nn.SiLU(inplace=True)), nn.Sequential(InPlace()),
    ],
)  # fmt: skip
def test_inputs_of_a_carried_function_stay_and_outputs_are_the_callers(f: nn.Module) -> None:
    layer, x = Difference(f), torch.randn(3, 4)
    given = x.clone()
    with torch.no_grad():
        layer._state.only_step = True
        found = layer(x)
        assert torch.equal(found, f(x.clone()))
        found.zero_()
    assert torch.equal(x, given)


@pytest.mark.parametrize("num_steps", [1, 2])
@pytest.mark.parametrize("grad", [True, False])
def test_a_threshold_that_was_broken_names_its_layer(num_steps: int, grad: bool) -> None:
    snn = small()
    snn.neurons["4"].threshold.fill_(-1.0)
    with torch.set_grad_enabled(grad), pytest.raises(ConfigError, match=r"^4: threshold must be"):
        snn(images(), num_steps=num_steps)


def test_a_neuron_by_itself_keeps_its_state() -> None:
    neuron = DualThreshold(init_hidden=True)
    with torch.no_grad():
        neuron(torch.tensor([0.7]), num_steps=1)
    assert neuron.spike_count.tolist() == [1]


def test_groups_of_images_give_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    snn, x = small(), images(6)
    with torch.no_grad():
        expected = snn(x, num_steps=1)
        monkeypatch.setattr("snntorch_ecl.network._pieces._ROOM_ON_CPU", 1)
        fresh = small()
        assert torch.equal(fresh(x, num_steps=1), expected)
