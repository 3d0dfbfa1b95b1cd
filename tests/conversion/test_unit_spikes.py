"""Unit spikes compute what spikes worth θ compute, and θ stands where the graph says."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import snntorch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import CheckpointError, UnsupportedError
from snntorch_ecl.functional._channels import over_channels
from snntorch_ecl.graph._ndims import ndims
from snntorch_ecl.network._files import NETWORK as _FORMAT
from snntorch_ecl.network._files import read_tensors, write_tensors
from snntorch_ecl.nn._scale import Scale
from tests.helpers.nets import BY_NAME, CATALOGUE, Net
from tests.helpers.parts import clips_of, close, conv, head, recorded, wired

SMALL = [net for net in CATALOGUE if not net.big]
over_small_nets = pytest.mark.parametrize("net", SMALL, ids=lambda net: net.name)


@pytest.fixture(autouse=True)
def _seeded_without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def clip(*theta: float) -> ecl.ThresholdClip:
    return ecl.ThresholdClip(4, torch.tensor(theta) if len(theta) > 1 else theta[0])


def scales(snn: ecl.SpikingNetwork) -> dict[str, Any]:
    """Every Scale by name, with its constants."""
    return {n: m.scale.tolist() for n, m in snn.net.named_modules() if isinstance(m, Scale)}


def per_channel(net: Net) -> nn.Module:
    """The prepared network in double precision, each channel's threshold another."""
    ann = net.prepared().double()
    shapes: dict[str, int] = {}
    hooks = [
        c.register_forward_hook(lambda m, a, out, n=n: shapes.update({n: out.shape[1]}))
        for n, c in clips_of(ann).items()
    ]
    ann(*[x.double() for x in net.inputs()])
    for hook in hooks:
        hook.remove()
    for name, c in clips_of(ann).items():
        c.threshold = c.threshold.detach() * (0.5 + torch.rand(shapes[name], dtype=torch.float64))
    return ann


def assert_the_same(ann: nn.Module, inputs: tuple[Tensor, ...], **settings: Any) -> Any:
    """Both conversions agree in their outputs and in every neuron's spikes; gives the unit one."""
    plain, unit = ecl.convert(ann, **settings), ecl.convert(ann, unit_spikes=True, **settings)
    wanted, spikes = recorded(plain, lambda: plain.logits_over_time(*inputs, num_steps=5))
    found, units = recorded(unit, lambda: unit.logits_over_time(*inputs, num_steps=5))
    assert close(found, wanted, tolerance=1e-9)
    assert spikes.keys() == units.keys()
    for name, neuron in unit.neurons.items():
        train = units[f"net.{name}"]
        assert set(train.unique().tolist()) <= {-1.0, 0.0, 1.0}
        theta = over_channels(neuron.threshold, train)
        assert torch.equal(train * theta, spikes[f"net.{name}"])
    assert any(bool(train.any()) for train in units.values())
    return unit


# ------------------------------------------------------------------------------- equal networks


@over_small_nets
@pytest.mark.parametrize("fold", [True, False])
def test_outputs_and_spikes_are_those_of_the_default_conversion(net: Net, fold: bool) -> None:
    inputs = tuple(x.double() for x in net.inputs())
    assert_the_same(net.prepared().double(), inputs, fold_batchnorms=fold)


@over_small_nets
def test_the_same_with_one_threshold_a_channel(net: Net) -> None:
    assert_the_same(per_channel(net), tuple(x.double() for x in net.inputs()))


@over_small_nets
def test_the_users_network_stays_as_it_was(net: Net) -> None:
    ann = per_channel(net)
    before = copy.deepcopy(ann.state_dict())
    identities = {name: id(p) for name, p in ann.named_parameters()}
    unit = ecl.convert(ann, unit_spikes=True)
    assert all(torch.equal(value, before[name]) for name, value in ann.state_dict().items())
    assert identities == {name: id(p) for name, p in ann.named_parameters()}
    mine = {t.data_ptr() for t in ann.parameters()}
    assert not mine & {t.data_ptr() for t in (*unit.parameters(), *unit.buffers())}


@over_small_nets
def test_where_scales_go_does_not_depend_on_the_values_of_thresholds(net: Net) -> None:
    first, second = net.prepared(), net.prepared()
    for c in clips_of(second).values():
        c.threshold = 1.0
    assert scales(ecl.convert(first, unit_spikes=True)).keys() == (
        scales(ecl.convert(second, unit_spikes=True)).keys()
    )


def test_by_default_spikes_are_worth_their_threshold() -> None:
    snn = ecl.convert(nn.Sequential(nn.Linear(2, 2), clip(0.5), nn.Linear(2, 1)))
    assert not snn.unit_spikes
    assert scales(snn) == {}
    assert snn.neurons["1"].graded_spikes_factor == 0.5


# ------------------------------------------------------------------------------- where θ goes


def weight(layer: nn.Module) -> Tensor:
    tensor = layer.weight
    assert isinstance(tensor, Tensor)
    return tensor


def test_a_linear_layers_weights_take_the_threshold_and_its_bias_does_not() -> None:
    ann = nn.Sequential(clip(0.5), nn.Linear(2, 1))
    ann[1].weight.data, ann[1].bias.data = torch.tensor([[2.0, -4.0]]), torch.tensor([3.0])
    unit = ecl.convert(ann, unit_spikes=True)
    assert unit.unit_spikes
    assert weight(unit.net.get_submodule("1")).tolist() == [[1.0, -2.0]]
    assert unit.net.get_submodule("1").bias.tolist() == [3.0]
    # Currents 0.5 and 0.25: spikes 1 1 and 1 0 in two steps, outputs 3 + 1 − 2 and 3 + 1.
    assert unit.logits_over_time(torch.tensor([[0.5, 0.25]]), num_steps=2).flatten().tolist() == [
        2.0, 3.0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "factors"),
    [
        (nn.Conv1d(4, 6, 1), [[2, 3, 4, 5]] * 6),
        (nn.Conv1d(4, 6, 1, groups=2), [[2, 3]] * 3 + [[4, 5]] * 3),
        (nn.Conv1d(4, 8, 1, groups=4), [[2], [2], [3], [3], [4], [4], [5], [5]]),
        (nn.ConvTranspose1d(4, 6, 1), [[2] * 6, [3] * 6, [4] * 6, [5] * 6]),
        (nn.ConvTranspose1d(4, 6, 1, groups=2), [[2] * 3, [3] * 3, [4] * 3, [5] * 3]),
    ],
    ids=str,
)
def test_each_input_channel_of_a_convolution_takes_its_own_threshold(
    layer: nn.Module, factors: list[list[float]]
) -> None:
    ann = nn.Sequential(clip(2.0, 3.0, 4.0, 5.0), layer)
    unit = ecl.convert(ann, unit_spikes=True)
    expected = weight(layer) * torch.tensor(factors).unsqueeze(2)
    assert torch.equal(weight(unit.net.get_submodule("1")), expected)
    assert scales(unit) == {}


@pytest.mark.parametrize("flat", [nn.Flatten(), wired(lambda m, x: torch.flatten(x, 1)),
                         wired(lambda m, x: x.flatten(start_dim=1))])  # fmt: skip
def test_a_linear_layer_behind_flattening_takes_a_threshold_for_each_place(flat: nn.Module) -> None:
    ann = nn.Sequential(nn.Conv1d(1, 2, 1), clip(2.0, 3.0), flat, nn.Linear(6, 1))
    unit = ecl.convert(ann, unit_spikes=True)
    expected = weight(ann[3]) * torch.tensor([2.0, 2, 2, 3, 3, 3])
    assert torch.equal(weight(unit.net.get_submodule("3")), expected)
    assert scales(unit) == {}


@pytest.mark.parametrize(
    "between",
    [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d(2),
     nn.Upsample(scale_factor=2, mode="bilinear"), nn.ZeroPad2d(1), nn.Dropout2d(), nn.Identity()],
    ids=lambda m: type(m).__name__,
)  # fmt: skip
def test_layers_between_that_scale_with_each_channel_need_no_scale(between: nn.Module) -> None:
    ann = nn.Sequential(conv(2, 2), clip(0.25, 0.5), between, nn.Conv2d(2, 3, 1)).double()
    unit = assert_the_same(ann, (torch.randn(3, 2, 4, 4).double(),))
    assert scales(unit) == {}


def test_a_residual_addition_reads_both_branches_scaled() -> None:
    """Spikes 1 and 1 of θ = 0.5 and θ = 2 are together worth 2.5."""
    ann = wired(lambda m, x: m.a(x) + m.b(x), a=clip(0.5), b=clip(2.0))
    unit = ecl.convert(ann, unit_spikes=True)
    assert scales(unit) == {"a_scale": 0.5, "b_scale": 2.0}
    assert unit(torch.full((1, 2), 9.0), num_steps=3).tolist() == [[2.5, 2.5]]


def test_of_several_readers_those_fold_that_can() -> None:
    """A block's output goes into a convolution and past it, into two additions."""

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.pool(m.clip(m.stem(x)))
        return m.head(m.conv(y) + y + y)

    ann = wired(forward, stem=conv(2, 4), clip=clip(0.25, 0.5, 1.0, 2.0), pool=nn.MaxPool2d(2),
                conv=conv(4, 4), head=head(4)).double()  # fmt: skip
    unit = assert_the_same(ann, (torch.randn(3, 2, 4, 4).double(),))
    assert scales(unit) == {"pool_scale": [0.25, 0.5, 1.0, 2.0]}
    theta = torch.tensor([0.25, 0.5, 1.0, 2.0]).view(-1, 1, 1)
    assert torch.equal(weight(unit.net.get_submodule("conv")), weight(ann.conv) * theta)


def shared_layer() -> nn.Module:
    return wired(lambda m, x: m.l(m.b(m.l(m.a(x)))), l=nn.Linear(4, 4), a=clip(0.5), b=clip(2.0))


def shared_under_two_names() -> nn.Module:
    layer = nn.Linear(4, 4)
    return wired(lambda m, x: m.k(m.b(m.l(m.a(x)))), l=layer, k=layer, a=clip(0.5),
                 b=clip(2.0))  # fmt: skip


def tied() -> nn.Module:
    model = wired(lambda m, x: m.k(m.b(m.l(m.a(x)))), l=nn.Linear(4, 4), k=nn.Linear(4, 4),
                  a=clip(0.5), b=clip(2.0))  # fmt: skip
    model.k.weight = model.l.weight
    return model


def read_by_code() -> nn.Module:
    return wired(lambda m, x: F.linear(m.b(m.l(m.a(x))), m.l.weight.t()), l=nn.Linear(4, 4),
                 a=clip(0.5), b=clip(2.0))  # fmt: skip


def parametrized() -> nn.Module:
    layers = [nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)) for _ in range(2)]
    return nn.Sequential(clip(0.5), layers[0], clip(2.0), layers[1])


def hooked() -> nn.Module:
    layers = [nn.Linear(4, 4) for _ in range(2)]
    for layer in layers:
        layer.register_forward_pre_hook(_doubles)
    return nn.Sequential(clip(0.5), layers[0], clip(2.0), layers[1])


def _doubles(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return (args[0] * 2,)


class OwnLinear(nn.Linear):
    """Counts as affine, by inheritance; what it does with its weight is its own affair."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight - 1.0, self.bias)


def own_types() -> nn.Module:
    return nn.Sequential(clip(0.5), OwnLinear(4, 4), clip(2.0), OwnLinear(4, 4))


@pytest.mark.parametrize(
    "build",
    [shared_layer, shared_under_two_names, tied, read_by_code, parametrized, hooked, own_types],
)
def test_weights_that_are_not_one_layers_own_stay_as_they_are(build: Any) -> None:
    unit = assert_the_same(build().double(), (torch.rand(3, 4).double(),))
    assert sorted(scales(unit).values()) == [0.5, 2.0]


@pytest.mark.parametrize(
    ("forward", "shape"),
    [
        (lambda m, x: m.fc(m.clip(x)), (4, 4)),  # the linear layer acts on dimension 2
        (lambda m, x: F.avg_pool2d(m.clip(x), 2), (4, 4, 4)),  # a call without a module
        (lambda m, x: m.pool(m.clip(x)), (4, 4)),  # it pools the channels
        (lambda m, x: m.flat(m.clip(x)), (4, 2, 2)),  # nothing tells how many places there are
        (lambda m, x: m.tail(m.clip(x)), (4, 2, 2)),  # the channels stay where they are
        (lambda m, x: m.fc(m.rows(m.clip(x))), (4, 2, 4)),  # not all is flattened
        (lambda m, x: m.clip(x).permute(0, 2, 1), (4, 4)),
        (lambda m, x: m.clip(x).mean(1), (4, 4)),
    ],
    ids=["tokens", "functional pool", "pool", "flat", "tail", "rows", "permute", "mean"],
)
def test_channels_that_would_be_mistaken_for_something_else_get_a_scale(
    forward: Any, shape: tuple[int, ...]
) -> None:
    ann = wired(forward, clip=clip(0.25, 0.5, 1.0, 2.0), fc=nn.Linear(4, 4), pool=nn.MaxPool2d(2),
                flat=nn.Flatten(), tail=nn.Flatten(2), rows=nn.Flatten(1, 2)).double()  # fmt: skip
    unit = assert_the_same(ann, (3 * torch.rand(3, *shape).double(),))
    assert scales(unit) == {"clip_scale": [0.25, 0.5, 1.0, 2.0]}


def test_the_output_is_worth_its_threshold() -> None:
    unit = ecl.convert(nn.Sequential(nn.Identity(), clip(0.5)), unit_spikes=True)
    assert scales(unit) == {"1_scale": 0.5}
    assert unit(torch.ones(1, 2), num_steps=2).tolist() == [[0.5, 0.5]]


def test_scales_do_not_reach_what_reads_sizes() -> None:
    unit = ecl.convert(BY_NAME["late batch size"].prepared(), unit_spikes=True)
    assert len(scales(unit)) == 1  # before view, which is no flattening to the eye


def test_reading_a_size_needs_no_scale() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.clip(x)
        return m.conv(y).view(y.shape[0], -1)

    unit = ecl.convert(wired(forward, clip=clip(0.5), conv=conv(2, 2)), unit_spikes=True)
    assert scales(unit) == {}


def test_frozen_weights_stay_frozen() -> None:
    ann = nn.Sequential(clip(0.5), nn.Linear(4, 4).requires_grad_(False))
    unit = ecl.convert(ann, unit_spikes=True)
    assert not weight(unit.net.get_submodule("1")).requires_grad
    assert not unit.net.get_submodule("1").bias.requires_grad


def test_dimensions_are_known_only_where_all_that_is_combined_tells_them() -> None:
    model = wired(lambda m, x, y: (m.conv(x) + m.conv(x), m.conv(x) + y), conv=conv())
    graph = torch.fx.symbolic_trace(model)
    known = {node.name: rank for node, rank in ndims(graph).items()}
    assert known == {"conv": 4, "conv_1": 4, "add": 4, "conv_2": 4}


# ---------------------------------------------------------------------------- other neurons


class Spiking(nn.Module):
    """A user's layer that a handler turns into a neuron."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def with_handler(make: Any) -> ecl.SpikingNetwork:
    model = nn.Sequential(nn.Linear(4, 4), clip(0.5), nn.Linear(4, 4), Spiking(), nn.Linear(4, 2))
    return ecl.convert(model, unit_spikes=True, handlers={Spiking: make})


def test_other_neurons_stay_as_they_are() -> None:
    leaky = snntorch.Leaky(beta=0.5, init_hidden=True, graded_spikes_factor=3.0)
    unit = with_handler(lambda m, site: leaky)
    assert unit.net.get_submodule("3").neuron.graded_spikes_factor == 3.0
    assert scales(unit) == {}


def test_a_handlers_neuron_whose_spikes_are_worth_its_threshold_takes_part() -> None:
    unit = with_handler(
        lambda m, site: ecl.DualThreshold(2.0, graded_spikes_factor=2.0, init_hidden=True)
    )
    assert unit.net.get_submodule("3").graded_spikes_factor == 1.0


@pytest.mark.parametrize(
    "settings",
    [{"graded_spikes_factor": 3.0},
     {"graded_spikes_factor": 2.0, "learn_graded_spikes_factor": True}],
)  # fmt: skip
def test_a_handlers_neuron_of_other_spikes_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=r"3 \(DualThreshold\): graded_spikes_factor is not"):
        with_handler(lambda m, site: ecl.DualThreshold(2.0, init_hidden=True, **settings))


# --------------------------------------------------------------------------------------- files


@over_small_nets
@pytest.mark.parametrize("fold", [True, False])
def test_files_round_trip(net: Net, fold: bool, tmp_path: Path) -> None:
    unit = ecl.convert(net.prepared(), unit_spikes=True, fold_batchnorms=fold)
    loaded = ecl.load(unit.save(tmp_path / "net.safetensors"), net.model())
    assert loaded.unit_spikes
    assert scales(loaded) == scales(unit)
    wanted = unit(*net.inputs(), num_steps=3)
    assert close(loaded(*net.inputs(), num_steps=3), wanted, tolerance=0.0)


@over_small_nets
def test_files_with_one_threshold_a_channel_round_trip(net: Net, tmp_path: Path) -> None:
    unit = ecl.convert(per_channel(net).float(), unit_spikes=True)
    path = unit.save(tmp_path / "net.safetensors")
    for model in (net.model(), net.prepared()):
        loaded = ecl.load(path, model)
        assert scales(loaded) == scales(unit)
        wanted = unit(*net.inputs(), num_steps=3)
        assert close(loaded(*net.inputs(), num_steps=3), wanted, tolerance=0.0)


def tied_convolutions() -> nn.Module:
    model = nn.Sequential(conv(2, 2), nn.ReLU(), conv(2, 2, bias=False), nn.BatchNorm2d(2),
                          nn.ReLU(), conv(2, 2, bias=False), nn.BatchNorm2d(2))  # fmt: skip
    model[5].weight = model[2].weight
    return model.eval()


@pytest.mark.parametrize("fold", ["at conversion", "later", "never"])
def test_tied_weights_that_folding_unties_round_trip(fold: str, tmp_path: Path) -> None:
    ann, x = ecl.prepare(tied_convolutions()), torch.rand(2, 2, 5, 5)
    for c in clips_of(ann).values():
        c.threshold = 0.25
    unit = ecl.convert(ann, unit_spikes=True, fold_batchnorms=fold == "at conversion")
    if fold == "later":
        unit.fold_batchnorms()
    loaded = ecl.load(unit.save(tmp_path / "net.safetensors"), tied_convolutions())
    assert torch.equal(loaded(x, num_steps=3), unit(x, num_steps=3))


def rewritten(path: Path, change: Any) -> Path:
    tensors, metadata = read_tensors(path, _FORMAT)
    settings = json.loads(metadata["settings"])
    change(settings)
    return write_tensors(path, tensors, {**metadata, "settings": json.dumps(settings)})


@pytest.mark.parametrize("damage", [{"unit_spikes": "yes"}, {"unit_spikes": 1}, {"norms": "some"}])
def test_a_damaged_setting_is_named(damage: dict[str, Any], tmp_path: Path) -> None:
    net = BY_NAME["sequential"]
    path = ecl.convert(net.prepared()).save(tmp_path / "a")
    rewritten(path, lambda settings: settings.update(damage))
    ((name, value),) = damage.items()
    with pytest.raises(CheckpointError, match=f"{name}={value!r}"):
        ecl.load(path, net.model())


@pytest.mark.parametrize("norms", ["folded", "kept", "folded later"])
def test_the_file_says_how_its_network_was_converted(
    norms: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = BY_NAME["residual"]
    snn = ecl.convert(net.prepared(), fold_batchnorms=norms == "folded")
    if norms == "folded later":
        snn.fold_batchnorms()
    path = snn.save(tmp_path / "a")
    calls: list[Any] = []

    def convert(*args: Any, **options: Any) -> ecl.SpikingNetwork:
        calls.append(options["fold_batchnorms"])
        return ecl.convert(*args, **options)

    monkeypatch.setattr("snntorch_ecl.conversion._load.convert", convert)
    loaded = ecl.load(path, net.model())
    assert calls == [norms == "folded"]  # once: nothing is tried
    assert loaded.norms == norms
    assert torch.equal(loaded(*net.inputs(), num_steps=3), snn(*net.inputs(), num_steps=3))


# ------------------------------------------------------------------------------- what reads it


def both(net: Net) -> tuple[nn.Module, ecl.SpikingNetwork, ecl.SpikingNetwork, Tensor]:
    """In double precision, so that no spike hangs on a rounding."""
    ann = per_channel(net)
    x = net.inputs(16)[0].double()
    return ann, ecl.convert(ann), ecl.convert(ann, unit_spikes=True), x


@pytest.mark.parametrize("name", ["residual", "max-pool", "u-net"])
def test_verify_measures_the_same_errors(name: str) -> None:
    ann, plain, unit, x = both(BY_NAME[name])
    wanted = ecl.verify(plain, ann, [x], num_steps=4, progress=False)
    found = ecl.verify(unit, ann, [x], num_steps=4, progress=False)
    for a, b in zip(found.layers, wanted.layers, strict=True):
        assert (a.exact, a.saturated, a.silent) == (b.exact, b.saturated, b.silent)
        assert a.error == pytest.approx(b.error, rel=1e-6)


def test_evaluate_measures_the_same_errors_and_rates() -> None:
    ann, plain, unit, x = both(BY_NAME["residual"])
    data = [(x, torch.zeros(len(x), dtype=torch.long))]
    wanted = ecl.evaluate(plain, data, num_steps=4, ann=ann, progress=False)
    found = ecl.evaluate(unit, data, num_steps=4, ann=ann, progress=False)
    assert found.accuracy == wanted.accuracy
    for a, b in zip(found.layers, wanted.layers, strict=True):
        assert (a.spike_rate, a.negative_rate) == (b.spike_rate, b.negative_rate)
        assert a.error == pytest.approx(b.error, rel=1e-6)


def test_biases_and_steps_are_compensated_alike() -> None:
    ann, plain, unit, x = both(BY_NAME["residual"])
    for method in ("biases", "steps"):
        wanted, found = (
            ecl.compensate(snn, ann, [x], num_steps=3, method=method, progress=False)
            for snn in (plain, unit)
        )
        assert found.unit_spikes
        assert close(found(x, num_steps=3), wanted(x, num_steps=3), tolerance=1e-9)


def test_weights_are_compensated_as_well() -> None:
    """Directions of least squares differ, as the weights do; the error falls alike."""
    ann, plain, unit, x = both(BY_NAME["residual"])
    errors = []
    for snn in (plain, unit):
        better = ecl.compensate(snn, ann, [x], num_steps=3, progress=False)
        errors.append(float((better(x, num_steps=3) - ann(x)).norm()))
    before = float((plain(x, num_steps=3) - ann(x)).norm())
    assert max(errors) < 0.7 * before


def test_compensated_unit_networks_round_trip(tmp_path: Path) -> None:
    net = BY_NAME["residual"]
    ann, x = net.prepared(), net.inputs(8)[0]
    unit = ecl.convert(ann, unit_spikes=True)
    better = ecl.compensate(unit, ann, [x], num_steps=3, method="steps", progress=False)
    loaded = ecl.load(better.save(tmp_path / "net.safetensors"), net.model())
    assert loaded.unit_spikes
    assert torch.equal(loaded(x, num_steps=3), better(x, num_steps=3))


def test_energy_counted_by_hand() -> None:
    """Two neurons spike 2 and 4 times in 4 steps: into 2 synapses each, and past them."""
    ann = wired(_past, clip=clip(1.0), last=nn.Linear(2, 2))
    unit = ecl.convert(ann, unit_spikes=True)
    cost = ecl.energy(unit, [torch.tensor([[0.5, 1.0]])], num_steps=4, progress=False)
    layers = {layer.name: layer for layer in cost.layers}
    assert layers["last"].acs == 6 * 2
    scale = layers["clip_scale"]
    assert (scale.kind, scale.acs, scale.macs, scale.ann_macs) == ("Scale", 6, 0, 0)
    assert scale.parameters == 1
    assert cost.not_counted == ("add (add)",)


def _past(m: Any, x: Tensor) -> Tensor:
    y = m.clip(x)
    return m.last(y) + y


def test_what_lies_behind_a_scale_still_adds() -> None:
    """A linear layer that nothing tells the dimensions of reads one amplitude a channel."""
    ann = nn.Sequential(clip(0.5, 1.0), nn.Linear(2, 3))
    unit = ecl.convert(ann, unit_spikes=True)
    cost = ecl.energy(unit, [torch.tensor([[0.25, 1.0]])], num_steps=4, progress=False)
    layers = {layer.name: layer for layer in cost.layers}
    assert (layers["0_scale"].acs, layers["0_scale"].parameters) == (6, 2)
    assert (layers["1"].acs, layers["1"].macs) == (6 * 3, 0)
    assert cost.not_counted == ()


def test_a_scale_of_averages_multiplies() -> None:
    ann = wired(lambda m, x: m.pool(m.clip(m.stem(x))) + 1.0, stem=conv(2, 2), clip=clip(0.5),
                pool=nn.AvgPool2d(2))  # fmt: skip
    unit = ecl.convert(ann, unit_spikes=True)
    cost = ecl.energy(unit, [torch.randn(5, 2, 4, 4)], num_steps=4, progress=False)
    scale = {layer.name: layer for layer in cost.layers}["pool_scale"]
    assert scale.acs == 0
    assert scale.macs > 0


def test_gradients_reach_every_layer() -> None:
    net = BY_NAME["residual"]
    unit = ecl.convert(net.prepared(), unit_spikes=True)
    with torch.enable_grad():
        unit(*net.inputs(), num_steps=2).square().sum().backward()
    assert all(float(p.grad.abs().max()) > 0 for p in unit.parameters())


def test_a_fused_network_emits_the_same_spikes() -> None:
    net = BY_NAME["residual"]
    unit = ecl.convert(net.prepared(), unit_spikes=True)
    wanted = unit(*net.inputs(), num_steps=3)
    assert torch.equal(unit.fuse()(*net.inputs(), num_steps=3), wanted)
