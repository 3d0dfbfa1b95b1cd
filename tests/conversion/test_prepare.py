"""prepare keeps every output, and leaves the model as it is."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError, EclError
from tests.helpers.nets import BY_NAME, Net, over_catalogue
from tests.helpers.parts import clips_of, equal, outputs, set_thresholds

pytestmark = pytest.mark.usefixtures("clean_registry", "seeded_without_gradients")


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


def neuron_class(name: str = "Odd") -> type[nn.Module]:
    """A type that nobody has registered."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return x.relu() if bool(x.sum() > -1e9) else x

    return type(name, (nn.Module,), {"forward": forward})


@over_catalogue
def test_prepared_outputs_are_bitwise_equal_while_thresholds_are_unset(net: Net) -> None:
    model = net.model()
    ann = ecl.prepare(model, levels=None)
    assert equal(outputs(ann, net.inputs()), outputs(model, net.inputs()))


@over_catalogue
def test_prepared_outputs_are_bitwise_equal_with_thresholds_above_all(net: Net) -> None:
    model = net.model()
    ann = ecl.prepare(model, levels=None)
    set_thresholds(ann, *net.inputs(), factor=2.0)
    assert equal(outputs(ann, net.inputs()), outputs(model, net.inputs()))


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
    "last",
    [nn.Hardshrink(), neuron_class("Untraceable")(), nn.ReLU()],
    ids=lambda m: type(m).__name__,
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
    twice = ecl.prepare(ann)
    first, second = clips_of(ann), clips_of(twice)
    assert list(first) == list(second)
    for name in first:
        assert second[name].levels == 3
        assert torch.equal(second[name].threshold, first[name].threshold)


def test_a_ceiling_is_kept_until_a_threshold_replaces_it() -> None:
    ann = ecl.prepare(nn.Sequential(nn.ReLU6(), nn.Hardtanh(0, 3)), levels=None)
    assert [clip.ceiling for clip in clips_of(ann).values()] == [6.0, 3.0]


# ----------------------------------------------------------------------------- prepared before


def prepared(**settings: Any) -> nn.Module:
    return ecl.prepare(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), **settings)


@pytest.mark.parametrize("levels", [8, 4, None])
def test_levels_given_later_hold_for_clips_that_are_there(levels: int | None) -> None:
    first = prepared(levels=2)
    first.get_submodule("1").threshold = 0.7
    clip = ecl.prepare(first, levels=levels).get_submodule("1")
    assert clip.levels == levels
    assert float(clip.threshold) == pytest.approx(0.7)
    assert first.get_submodule("1").levels == 2


def test_levels_not_given_leave_clips_as_they_are() -> None:
    clip = ecl.prepare(prepared(levels=2)).get_submodule("1")
    assert clip.levels == 2
    assert type(prepared().get_submodule("1").levels) is int
    assert inspect.signature(ecl.prepare).parameters["levels"].default == 4


def test_channels_asked_for_later_need_thresholds_that_are_unset() -> None:
    first = prepared()
    assert ecl.prepare(first, per_channel=True).get_submodule("1").per_channel
    first.get_submodule("1").threshold = 0.7
    with pytest.raises(ConfigError, match="1 has one threshold for its layer already"):
        ecl.prepare(first, per_channel=True)
    first.get_submodule("1").threshold = torch.ones(4)
    assert ecl.prepare(first, per_channel=True).get_submodule("1").threshold.shape == (4,)
