"""Registered types and what becomes of them in a conversion."""

from __future__ import annotations

from typing import Any

import pytest
import snntorch as snn
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError, EclError, RegistrationError, UnsupportedError
from snntorch_ecl.graph._registry import _TABLE, handler_for, registered_types
from snntorch_ecl.nn._temporal import Temporal, unfold
from tests.helpers.parts import clips_of, equal, set_thresholds, wired

pytestmark = pytest.mark.usefixtures("clean_registry", "seeded_without_gradients")


def linear_relu(*more: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), ecl.ThresholdClip(4, 1.0), *more, nn.Linear(4, 2))


class Scale(nn.Module):
    """Affine; its code could not be traced."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x if bool(x.isfinite().all()) else x


def test_keep_leaves_a_registered_layer_as_it_is() -> None:
    ecl.register(Scale)(ecl.keep)
    snn_ = ecl.convert(linear_relu(Scale()))
    assert type(snn_.net.get_submodule("2")) is Scale
    assert Scale in registered_types()


def test_a_handler_sees_the_module_and_its_site() -> None:
    seen: list[tuple[nn.Module, ecl.Site]] = []

    @ecl.register(Scale)
    def handler(module: nn.Module, site: ecl.Site) -> nn.Module:
        seen.append((module, site))
        return nn.Identity()

    snn_ = ecl.convert(linear_relu(Scale()), negative_threshold=-0.5)
    ((module, site),) = seen
    assert type(module) is Scale
    assert (site.name, site.node.op) == ("2", "call_module")
    assert site.config == ecl.ConvertConfig(negative_threshold=-0.5)
    assert type(snn_.net.get_submodule("2")) is nn.Identity


def test_handlers_of_one_call_win_and_do_not_stay() -> None:
    ecl.register(Scale)(ecl.keep)
    model = linear_relu(Scale())
    once = ecl.convert(model, handlers={Scale: lambda m, site: nn.Identity()})
    assert type(once.net.get_submodule("2")) is nn.Identity
    assert type(ecl.convert(model).net.get_submodule("2")) is Scale


def test_handlers_of_one_call_need_no_registration() -> None:
    handlers = {Scale: ecl.keep}
    ann = ecl.prepare(nn.Sequential(Scale(), nn.ReLU()), handlers=handlers)
    set_thresholds(ann, torch.rand(2, 3))
    ecl.convert(ann, handlers=handlers)
    with pytest.raises(EclError):
        ecl.convert(ann)
    assert Scale not in _TABLE


def test_registering_twice_is_an_error_that_points_to_handlers() -> None:
    ecl.register(Scale)(ecl.keep)
    with pytest.raises(RegistrationError, match=r"Scale is registered already.*handlers={Scale"):
        ecl.register(Scale)(ecl.keep)


@pytest.mark.parametrize("kind", [3, int, nn.Linear(2, 2), "nn.ReLU"])
def test_only_module_types_register(kind: object) -> None:
    with pytest.raises(RegistrationError, match=r"nn\.Module types; got"):
        ecl.register(kind)
    with pytest.raises(ConfigError, match=r"handlers=.*got"):
        handler_for(nn.ReLU, {kind: ecl.keep})


def test_a_handler_must_be_callable() -> None:
    with pytest.raises(RegistrationError, match="callable; got None"):
        ecl.register(Scale)(None)
    assert Scale not in _TABLE


def test_lookup_takes_the_exact_type_then_the_nearest_ancestor_that_is_kept() -> None:
    class Conv(nn.Conv2d):
        pass

    class Pool(nn.MaxPool2d):
        pass

    class Clip(ecl.ThresholdClip):
        pass

    def own(module: nn.Module, site: ecl.Site) -> nn.Module:
        return module

    assert handler_for(Conv) is ecl.keep
    assert handler_for(Conv, {Conv: own}) is own
    assert handler_for(Conv, {nn.Conv2d: own}) is None
    assert handler_for(Pool) is None
    assert handler_for(Clip) is None
    assert handler_for(nn.ReLU) is None


def test_a_subclassed_convolution_is_kept_whole() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            weight = self.weight - self.weight.mean() if bool(x.isfinite().all()) else self.weight
            return F.conv2d(x, weight, self.bias)

    ann = ecl.prepare(nn.Sequential(Standardised(1, 2, 3), nn.ReLU(), Standardised(2, 1, 1)))
    set_thresholds(ann, torch.rand(2, 1, 4, 4))
    assert type(ecl.convert(ann).net.get_submodule("2")) is Standardised


class OwnReLU(nn.ReLU):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def test_a_subclassed_relu_is_taken_for_what_its_code_does() -> None:
    model = nn.Sequential(nn.Linear(4, 4), OwnReLU(), nn.Linear(4, 2))
    ann = ecl.prepare(model, levels=None)
    x = torch.randn(5, 4)
    assert list(clips_of(ann)) == ["1.relu"]
    assert equal(ann(x), model(x))


def test_a_subclassed_relu_as_a_leaf_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"1 \(OwnReLU\)"):
        ecl.prepare(nn.Sequential(nn.ReLU(), OwnReLU()), leaf_modules=(OwnReLU,))


@pytest.mark.parametrize("leaf", [3, int, nn.Linear(2, 2)])
def test_leaf_modules_are_types(leaf: object) -> None:
    with pytest.raises(ConfigError, match=r"leaf_modules= takes nn\.Module types; got"):
        ecl.prepare(nn.Sequential(nn.ReLU()), leaf_modules=(leaf,))


class Spiking(nn.Module):
    """Stands for an activation that a handler turns into one of snnTorch's neurons."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def leaky(module: nn.Module, site: ecl.Site) -> nn.Module:
    return snn.Leaky(beta=0.75, init_hidden=True)


def test_a_neuron_of_snntorchs_runs_step_by_step() -> None:
    ecl.register(Spiking)(leaky)
    model = linear_relu(nn.Linear(4, 4), Spiking())
    model[2].weight.mul_(8)
    snn_ = ecl.convert(model)
    x = torch.rand(3, 4) * 4
    first, neuron = ecl.DualThreshold(1.0, init_hidden=True), snn.Leaky(beta=0.75, init_hidden=True)
    spikes = [neuron(model[2](first(model[0](x)))) for _ in range(6)]
    expected = torch.stack([model[4](spk) for spk in spikes]).mean(0)
    assert torch.stack(spikes).unique().tolist() == [0, 1]
    assert torch.allclose(snn_(x, num_steps=6), expected, atol=1e-6)
    assert torch.equal(snn_(x, num_steps=6), snn_(x, num_steps=6))
    assert [(layer.name, layer.levels) for layer in snn_.layers] == [("1", 4), ("3", None)]


@pytest.mark.parametrize("settings", [{}, {"init_hidden": True, "output": True}])
def test_a_handlers_neuron_must_map_one_tensor_to_one(settings: dict[str, bool]) -> None:
    ecl.register(Spiking)(lambda m, site: snn.Leaky(beta=0.75, **settings))
    with pytest.raises(ConfigError, match=r"neuron for 2 must have init_hidden=True"):
        ecl.convert(linear_relu(Spiking()))


def test_a_handler_must_return_a_module() -> None:
    ecl.register(Spiking)(lambda m, site: "neuron")
    with pytest.raises(ConfigError, match=r"for 2 must return an nn\.Module; got 'neuron'"):
        ecl.convert(linear_relu(Spiking()))


def assert_runs_in_time(network: ecl.SpikingNetwork) -> None:
    """A whole run is the mean of its steps."""
    x = torch.rand(3, 4) * 4
    network.reset()
    steps = torch.stack([network.step(x) for _ in range(6)])
    assert torch.allclose(steps.mean(0), network(x, num_steps=6))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Identity(), ecl.DualThreshold(init_hidden=True)),
        lambda: nn.Sequential(nn.Identity(), snn.Leaky(beta=0.5, threshold=0.1, init_hidden=True)),
    ],
)
def test_neurons_deep_inside_what_a_handler_returns_run_in_time(make: Any) -> None:
    ecl.register(Spiking)(lambda m, site: make())
    assert_runs_in_time(ecl.convert(linear_relu(nn.Linear(4, 4), Spiking())))


def test_a_kept_neuron_runs_in_time() -> None:
    ecl.register(snn.Leaky)(ecl.keep)
    leaky = snn.Leaky(beta=0.75, init_hidden=True)
    assert_runs_in_time(ecl.convert(linear_relu(nn.Linear(4, 4), leaky)))


class Delay(nn.Module, Temporal):
    """Gives back the input of the step before."""

    def __init__(self) -> None:
        super().__init__()
        self.reset_mem()

    def reset_mem(self) -> None:
        self.last: Tensor | None = None

    def forward(self, input_: Tensor, *, num_steps: int = 1, held: int = 1) -> Tensor:
        steps = unfold(input_, num_steps, held)
        last = torch.zeros_like(steps[0]) if self.last is None else self.last
        self.last = steps[-1].clone()
        return torch.cat([last.unsqueeze(0), steps[:-1]]).flatten(0, 1)


def test_a_temporal_layer_of_the_users_sees_time() -> None:
    ecl.register(Spiking)(lambda m, site: Delay())
    model = linear_relu(Spiking())
    direct = ecl.convert(nn.Sequential(*model[:2], model[3]))
    x = torch.rand(3, 4)
    snn_ = ecl.convert(model)
    now = direct.logits_over_time(x, num_steps=5) * torch.arange(1, 6).view(-1, 1, 1)
    late = snn_.logits_over_time(x, num_steps=5) * torch.arange(1, 6).view(-1, 1, 1)
    bias = model[3].bias
    assert torch.allclose(late[0], bias.expand(3, 2), atol=1e-6)
    assert torch.allclose(late[1:], now[:-1] + bias, atol=1e-5)
    assert torch.equal(snn_(x, num_steps=5), snn_(x, num_steps=5))


def test_a_handlers_refusal_is_reported_with_all_others() -> None:
    model = nn.Sequential(
        nn.Conv1d(1, 2, 3), ecl.ThresholdClip(4, 1.0), nn.MaxPool1d(2, return_indices=True),
        nn.BatchNorm1d(4, track_running_stats=False),
    )  # fmt: skip
    with pytest.raises(UnsupportedError) as caught:
        ecl.convert(model)
    assert len(caught.value.sites) == 2
    assert "return_indices=True" in str(caught.value)
    assert "track_running_stats=False" in str(caught.value)


def test_max_pool_with_indices_is_refused() -> None:
    model = wired(lambda m, x: m.pool(m.clip(x)), clip=ecl.ThresholdClip(4, 1.0),
                  pool=nn.MaxPool1d(2, return_indices=True))  # fmt: skip
    with pytest.raises(UnsupportedError, match=r"pool \(MaxPool1d\): return_indices=True"):
        ecl.convert(model)


def test_an_input_may_be_called_like_the_time_inputs() -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clip, self.fc = ecl.ThresholdClip(4, 1.0), nn.Linear(4, 2)

        def forward(self, held: Tensor, num_steps: Tensor) -> Tensor:
            return self.fc(self.clip(held) + num_steps)

    x = torch.rand(3, 4)
    assert ecl.convert(Held())(x, x, num_steps=2).shape == (3, 2)
