"""prepare keeps every output, convert approaches the clipped ANN, and neither touches the model."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import snntorch as snn
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError, EclError, RegistrationError, UnsupportedError
from snntorch_ecl.handlers import _HANDLERS, handler_for, registered_types
from snntorch_ecl.temporal import Temporal, unfold
from tests import oracles
from tests.nets import (
    BY_NAME,
    CATALOGUE,
    Net,
    clips_of,
    close,
    equal,
    exact,
    head,
    norms_of,
    on_grid,
    recorded,
    set_thresholds,
    spiking,
    wired,
)

over_catalogue = pytest.mark.parametrize("net", CATALOGUE, ids=lambda net: net.name)
pytestmark = pytest.mark.usefixtures("clean_registry")


@pytest.fixture
def clean_registry() -> Iterator[None]:
    before = dict(_HANDLERS)
    yield
    _HANDLERS.clear()
    _HANDLERS.update(before)


@pytest.fixture(autouse=True)
def _seeded_without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def run(model: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    return model(*[x.clone() for x in inputs])


def portrait(model: nn.Module) -> dict[str, Any]:
    """Everything about a model that preparing or converting it might change."""
    modules = dict(model.named_modules(remove_duplicate=False))
    return {
        "types": {n: type(m) for n, m in modules.items()},
        "identities": {n: id(m) for n, m in modules.items()},
        "modes": {n: m.training for n, m in modules.items()},
        "in place": {n: getattr(m, "inplace", None) for n, m in modules.items()},
        "hooks": {n: (len(m._forward_hooks), len(m._forward_pre_hooks))
                  for n, m in modules.items()},
        "tensors": {n: (id(t), t._version, t.requires_grad)
                    for n, t in (*model.named_parameters(), *model.named_buffers())},
        "set": {n: m.is_set for n, m in clips_of(model).items()},
    }  # fmt: skip


def assert_untouched(model: nn.Module, before: dict[str, Any], state: dict[str, Tensor]) -> None:
    assert portrait(model) == before
    now = model.state_dict()
    assert list(now) == list(state)
    assert all(torch.equal(now[k].nan_to_num(), state[k].nan_to_num()) for k in state)


def first_input(layer: nn.Module, call: Any) -> tuple[int, ...]:
    """The shape of what reaches a layer during a call; it must be reached once."""
    seen: list[tuple[int, ...]] = []
    hook = layer.register_forward_pre_hook(lambda m, args: seen.append(tuple(args[0].shape)))
    call()
    hook.remove()
    assert len(seen) == 1
    return seen[0]


def neuron_class(name: str = "Odd") -> type[nn.Module]:
    """A type that nobody has registered."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return x.relu() if bool(x.sum() > -1e9) else x

    return type(name, (nn.Module,), {"forward": forward})


# -------------------------------------------------------------------------------------- prepare


@over_catalogue
def test_prepared_outputs_are_bitwise_equal_while_thresholds_are_unset(net: Net) -> None:
    model = net.model()
    ann = ecl.prepare(model, levels=None)
    assert equal(run(ann, net.inputs()), run(model, net.inputs()))


@over_catalogue
def test_prepared_outputs_are_bitwise_equal_with_thresholds_above_all(net: Net) -> None:
    model = net.model()
    ann = ecl.prepare(model, levels=None)
    set_thresholds(ann, *net.inputs(), factor=2.0)
    assert equal(run(ann, net.inputs()), run(model, net.inputs()))


@over_catalogue
def test_each_call_of_a_rectifier_has_its_own_clip(net: Net) -> None:
    ann = ecl.prepare(net.model(), levels=3, per_channel=True)
    clips = clips_of(ann)
    assert len(clips) == len({id(clip.raw_threshold) for clip in clips.values()}) == net.clips
    assert {(clip.levels, clip.per_channel) for clip in clips.values()} == {(3, True)}
    assert not [m for m in ann.modules() if type(m) in (nn.ReLU, nn.ReLU6, nn.Hardtanh)]


@over_catalogue
def test_prepare_and_convert_leave_the_model_untouched(net: Net) -> None:
    model = net.model().train()
    before, state = portrait(model), copy.deepcopy(model.state_dict())
    ann = ecl.prepare(model)
    assert_untouched(model, before, state)
    for clip in clips_of(ann).values():
        clip.threshold = 1.0
    before, state = portrait(ann), copy.deepcopy(ann.state_dict())
    snn_ = ecl.convert(ann)
    assert_untouched(ann, before, state)
    mine = {t.data_ptr() for t in ann.parameters()}
    assert not mine & {t.data_ptr() for t in (*snn_.parameters(), *snn_.buffers())}


@pytest.mark.parametrize("verb", [ecl.prepare, ecl.convert])
@pytest.mark.parametrize(
    "last", [nn.GELU(), neuron_class("Untraceable")(), nn.ReLU()], ids=lambda m: type(m).__name__
)
def test_a_failing_call_leaves_the_model_untouched(verb: Any, last: nn.Module) -> None:
    model = nn.Sequential(
        nn.Linear(4, 4), nn.ReLU(True), nn.Dropout(), ecl.ThresholdClip(), nn.BatchNorm1d(4), last
    )
    before, state = portrait(model), copy.deepcopy(model.state_dict())
    if verb is ecl.convert or not isinstance(last, nn.ReLU):
        with pytest.raises(EclError):
            verb(model)
    else:
        verb(model)
    assert_untouched(model, before, state)


def test_the_first_training_batch_sets_every_threshold() -> None:
    net = BY_NAME["residual"]
    ann = ecl.prepare(net.model()).train()
    ann(*net.inputs())
    assert all(clip.is_set for clip in clips_of(ann).values())
    assert ecl.convert(ann)(*net.inputs(), num_steps=2).isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_a_prepared_network_is_in_the_mode_of_the_model(training: bool) -> None:
    ann = ecl.prepare(BY_NAME["F.dropout"].model().train(training))
    assert {m.training for m in ann.modules()} == {training}


def test_preparing_twice_keeps_the_clips_and_their_thresholds() -> None:
    ann = BY_NAME["shared relu"].prepared(levels=3)
    twice = ecl.prepare(ann, levels=8)
    first, second = clips_of(ann), clips_of(twice)
    assert list(first) == list(second)
    for name in first:
        assert second[name].levels == 3
        assert torch.equal(second[name].threshold, first[name].threshold)


def test_a_ceiling_is_kept_until_a_threshold_replaces_it() -> None:
    ann = ecl.prepare(nn.Sequential(nn.ReLU6(), nn.Hardtanh(0, 3)), levels=None)
    assert [clip.ceiling for clip in clips_of(ann).values()] == [6.0, 3.0]


# -------------------------------------------------------------------------------------- convert


def relative_error(net: Net, num_steps: int) -> float:
    ann, snn_ = spiking(net.name)
    inputs = net.inputs(1 if net.big else 2)
    pairs = zip(tree_leaves(snn_(*inputs, num_steps=num_steps)), tree_leaves(run(ann, inputs)),
                strict=True)  # fmt: skip
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


@over_catalogue
def test_the_spiking_network_approaches_the_clipped_one_as_steps_grow(net: Net) -> None:
    long, tolerance = (64, 0.12) if net.big else (256, 0.02)
    assert relative_error(net, long) < tolerance
    assert relative_error(net, long) < 0.4 * relative_error(net, 8)


def grid_inputs(net: Net, seed: int = 1) -> tuple[Tensor, ...]:
    return tuple(on_grid(x, 16) for x in net.inputs(1 if net.big else 3, seed))


def same_run(
    snn_: ecl.SpikingNetwork, one: Callable[[], Any], other: Callable[[], Any]
) -> dict[str, Tensor]:
    """Both calls emit the same spikes, bit for bit, and equal outputs; gives the spikes."""
    results, spikes = zip(recorded(snn_, one), recorded(snn_, other), strict=True)
    assert spikes[0].keys() == spikes[1].keys() != set()
    assert all(torch.equal(spikes[0][name], spikes[1][name]) for name in spikes[0])
    assert close(*results, tolerance=1e-6)
    return spikes[0]


def means_of_steps(snn_: ecl.SpikingNetwork, frames: list[tuple[Tensor, ...]]) -> Any:
    """Running averages of what step by step gives."""
    snn_.reset()
    outputs = [snn_.step(*frame) for frame in frames]
    counts = torch.arange(1, len(frames) + 1)
    return tree_map(
        lambda *steps: torch.stack(steps).cumsum(0) / counts.view(-1, *[1] * steps[0].ndim),
        *outputs,
    )


@over_catalogue
def test_stepping_equals_a_whole_run_bit_for_bit(net: Net) -> None:
    snn_, inputs = exact(net.name), grid_inputs(net)
    spikes = same_run(
        snn_,
        lambda: snn_.logits_over_time(*inputs, num_steps=4),
        lambda: means_of_steps(snn_, [inputs] * 4),
    )
    assert any(bool(train.any()) for train in spikes.values())


@over_catalogue
def test_a_constant_sequence_equals_holding_the_input_bit_for_bit(net: Net) -> None:
    snn_, inputs = exact(net.name), grid_inputs(net)
    sequence = [x.expand(3, *x.shape) for x in inputs]
    same_run(snn_, lambda: snn_.forward_steps(*sequence), lambda: snn_(*inputs, num_steps=3))


@over_catalogue
def test_a_changing_sequence_equals_stepping_bit_for_bit(net: Net) -> None:
    snn_ = exact(net.name)
    frames = [grid_inputs(net, seed) for seed in range(3)]
    sequence = [torch.stack(xs) for xs in zip(*frames, strict=True)]
    same_run(
        snn_,
        lambda: snn_.forward_steps(*sequence),
        lambda: tree_map(lambda x: x[-1], means_of_steps(snn_, frames)),
    )


@over_catalogue
def test_images_do_not_mix(net: Net) -> None:
    """A batch equals its images one by one."""
    snn_, inputs = exact(net.name), net.inputs(2)
    both = tree_leaves(snn_(*inputs, num_steps=2))
    for index in range(2):
        alone = tree_leaves(snn_(*[x[index : index + 1] for x in inputs], num_steps=2))
        for a, b in zip(both, alone, strict=True):
            assert torch.allclose(a[index : index + 1], b, atol=1e-4)


@over_catalogue
def test_only_norms_that_cannot_fold_and_no_dropout_are_left(net: Net) -> None:
    snn_ = spiking(net.name)[1]
    assert len(norms_of(snn_)) == net.norms
    assert not [m for m in snn_.modules() if "Dropout" in type(m).__name__]
    assert not clips_of(snn_)
    assert len(snn_.neurons) == net.clips


@over_catalogue
def test_layers_keep_their_clips_name_threshold_and_levels(net: Net) -> None:
    ann = net.prepared(levels=5)
    snn_ = ecl.convert(ann)
    clips = clips_of(ann)
    assert {layer.name for layer in snn_.layers} == set(clips)
    assert {layer.levels for layer in snn_.layers} == {5}
    for name, neuron in snn_.neurons.items():
        assert torch.equal(neuron.threshold, clips[name].threshold)
        assert torch.equal(neuron.graded_spikes_factor, clips[name].threshold)


def test_settings_reach_every_neuron() -> None:
    spike_grad = snn.surrogate.fast_sigmoid()
    snn_ = ecl.convert(
        BY_NAME["residual"].prepared(),
        negative_threshold=-0.25, initial_membrane=0.125, spike_grad=spike_grad,
    )  # fmt: skip
    for neuron in snn_.neurons.values():
        settings = (neuron.negative_threshold, neuron.initial_membrane, neuron.spike_grad)
        assert settings == (-0.25, 0.125, spike_grad)


def test_a_converted_network_is_in_eval_mode() -> None:
    ann = BY_NAME["bn before conv"].prepared().train()
    assert {m.training for m in ecl.convert(ann).modules()} == {False}


# ------------------------------------------------------------------------------ exact statements


def one_hidden_layer(levels: int) -> tuple[nn.Module, Tensor]:
    """Dyadic weights and inputs, so that nothing rounds and ties occur."""
    generator = torch.Generator().manual_seed(levels)
    ann = nn.Sequential(nn.Linear(4, 16), ecl.ThresholdClip(levels, 1.5), nn.Linear(16, 3))
    for parameter in (*ann[0].parameters(), *ann[2].parameters()):
        parameter.copy_(torch.randint(-8, 9, parameter.shape, generator=generator) / 8)
    return ann, torch.randint(-8, 9, (32, 4), generator=generator) / 8


def hidden_mean(snn_: ecl.SpikingNetwork, x: Tensor, num_steps: int) -> Tensor:
    seen: list[Tensor] = []
    (neuron,) = snn_.neurons.values()
    hook = neuron.register_forward_hook(lambda m, args, out: seen.append(out))
    snn_(x, num_steps=num_steps)
    hook.remove()
    return unfold(seen[0], num_steps).mean(0)


@pytest.mark.parametrize("levels", [1, 2, 4, 8])
def test_at_as_many_steps_as_levels_the_hidden_layer_is_exact(levels: int) -> None:
    ann, x = one_hidden_layer(levels)
    mean = hidden_mean(ecl.convert(ann), x, levels)
    assert torch.equal(mean, ann[:2](x))
    z = (x @ ann[0].weight.T + ann[0].bias).flatten().tolist()
    truth = torch.tensor([float(oracles.clip(value, 1.5, levels)) for value in z])
    assert torch.equal(mean.flatten(), truth)
    assert truth.unique().numel() == levels + 1


@pytest.mark.parametrize("num_steps", [1, 4])
def test_without_negative_threshold_neurons_integrate_and_fire(num_steps: int) -> None:
    ann, x = one_hidden_layer(4)
    frames = torch.stack([x * (-1) ** t * (1 + t % 3) for t in range(num_steps)])
    plain = ecl.convert(ann, negative_threshold=-math.inf)
    (neuron,) = plain.neurons.values()
    seen: list[Tensor] = []
    neuron.register_forward_hook(lambda m, args, out: seen.append(out))
    plain.forward_steps(frames)
    spikes = (unfold(seen[0], num_steps) / 1.5).flatten(1).T.tolist()
    currents = ann[0](frames).flatten(1).T.tolist()
    assert spikes == [oracles.integrate_and_fire(column, 1.5) for column in currents]
    dual = ecl.convert(ann).forward_steps(frames)
    assert torch.equal(dual, plain.forward_steps(frames)) is (num_steps == 1)


@pytest.mark.parametrize("name", ["sequential", "residual", "max-pool", "u-net"])
def test_at_one_step_both_neurons_are_the_same(name: str) -> None:
    net = BY_NAME[name]
    plain = ecl.convert(spiking(name)[0], negative_threshold=-math.inf)
    assert equal(spiking(name)[1](*net.inputs(), num_steps=1), plain(*net.inputs(), num_steps=1))


# ---------------------------------------------------------------------------------------- timing


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("residual", "0", "2.conv1"), ("late input", "a", "b"), ("stem shortcut", "stem", "conv")],
)
def test_the_stem_runs_once_and_the_body_at_every_step(name: str, first: str, second: str) -> None:
    snn_, net = spiking(name)[1], BY_NAME[name]
    for layer, rows in ((first, 3), (second, 15)):
        module = snn_.net.get_submodule(layer)
        shape = first_input(module, lambda: snn_(*net.inputs(3), num_steps=5))
        assert shape[0] == rows


def test_all_layers_of_a_stem_run_once() -> None:
    ann = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.AvgPool2d(2), nn.Conv2d(2, 2, 1), ecl.ThresholdClip(4, 1.0), head(2)
    )
    snn_ = ecl.convert(ann)
    for name in ("0", "1", "2"):
        module = snn_.net.get_submodule(name)
        assert first_input(module, lambda: snn_(torch.rand(2, 1, 6, 6), num_steps=7))[0] == 2


def test_a_changing_input_reaches_the_stem_at_every_step() -> None:
    snn_, net = spiking("residual")[1], BY_NAME["residual"]
    frames = torch.stack([net.inputs(2, seed=s)[0] for s in range(3)])
    assert first_input(snn_.net.get_submodule("0"), lambda: snn_.forward_steps(frames))[0] == 6


def test_a_held_shortcut_is_added_image_by_image() -> None:
    """Two different images whose shortcut joins after the neuron: the layout must be time-major."""
    ann = wired(lambda m, x: m.relu(x) * 0 + x, relu=ecl.ThresholdClip(4, 1.0))
    x = torch.tensor([[1.0], [-2.0], [3.0]])
    assert ecl.convert(ann).logits_over_time(x, num_steps=2).tolist() == [x.tolist()] * 2


def test_an_output_that_no_neuron_reaches_is_held_too() -> None:
    snn_, net = spiking("two outputs")[1], BY_NAME["two outputs"]
    ann = spiking("two outputs")[0]
    _, plain = snn_.logits_over_time(*net.inputs(), num_steps=4)
    assert torch.allclose(plain, run(ann, net.inputs())[1].expand(4, -1, -1), atol=1e-6)


def test_layers_may_be_called_with_keywords() -> None:
    ann = wired(
        lambda m, x: m.fc(input=m.drop(input=m.pool(input=m.relu(input=x)))).flatten(1),
        relu=nn.ReLU(), pool=nn.MaxPool1d(2), drop=nn.Dropout(), fc=nn.Linear(2, 2),
    ).eval()  # fmt: skip
    ann = ecl.prepare(ann)
    set_thresholds(ann, torch.rand(3, 2, 4))
    assert ecl.convert(ann)(torch.rand(3, 2, 4), num_steps=2).shape == (3, 4)


def test_a_parameter_expanded_to_the_batch_is_expanded_at_every_step() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.fc(torch.cat([m.relu(x), m.token.expand(x.shape[0], -1)], 1))

    token = nn.Parameter(torch.ones(1, 4))
    ann = wired(forward, relu=ecl.ThresholdClip(4, 1.0), token=token, fc=nn.Linear(8, 2))
    assert ecl.convert(ann)(torch.rand(3, 4), num_steps=4).shape == (3, 2)


# -------------------------------------------------------------------------------------- handlers


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
    assert Scale not in _HANDLERS


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
    assert Scale not in _HANDLERS


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


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Identity(), ecl.DualThreshold(init_hidden=True)),
        lambda: nn.Sequential(nn.Identity(), snn.Leaky(beta=0.5, init_hidden=True)),
    ],
)
def test_neurons_deep_inside_what_a_handler_returns_run_in_time_or_are_refused(make: Any) -> None:
    ecl.register(Spiking)(lambda m, site: make())
    try:
        snn_ = ecl.convert(linear_relu(nn.Linear(4, 4), Spiking()))
    except EclError:
        return
    x = torch.rand(3, 4) * 4
    snn_.reset()
    stepped = torch.stack([snn_.step(x) for _ in range(6)]).mean(0)
    assert torch.allclose(stepped, snn_(x, num_steps=6))


def test_a_kept_neuron_runs_in_time_or_is_refused() -> None:
    ecl.register(snn.Leaky)(ecl.keep)
    try:
        snn_ = ecl.convert(linear_relu(nn.Linear(4, 4), snn.Leaky(beta=0.75, init_hidden=True)))
    except EclError:
        return
    x = torch.rand(3, 4) * 4
    snn_.reset()
    stepped = torch.stack([snn_.step(x) for _ in range(6)]).mean(0)
    assert torch.allclose(stepped, snn_(x, num_steps=6))


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
        nn.Conv1d(1, 2, 3), ecl.ThresholdClip(4, 1.0), nn.Flatten(start_dim=0),
        nn.BatchNorm1d(4, track_running_stats=False),
    )  # fmt: skip
    with pytest.raises(UnsupportedError) as caught:
        ecl.convert(model)
    assert len(caught.value.sites) == 2
    assert "start_dim=0" in str(caught.value)
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
