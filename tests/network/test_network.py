"""SpikingNetwork: time, state, copies, files, gradients, summary."""

from __future__ import annotations

import copy
import gc
import io
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import snntorch
import torch
import torch.nn.functional as F
from snntorch import Leaky, utils
from snntorch.functional import probe
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import DualThreshold, SignedMaxPool, SpikingNetwork
from snntorch_ecl.nn._temporal import Temporal
from tests.helpers.nets import BY_NAME, CATALOGUE, spiking
from tests.helpers.parts import close, equal, head, norms_of, set_thresholds, wired

SMALL = [net for net in CATALOGUE if not net.big]
TYPICAL = ["residual", "max-pool overlapping", "u-net", "two inputs", "dict output"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def convert(name: str, **settings: Any) -> SpikingNetwork:
    """A network of its own, for tests that change it."""
    return ecl.convert(BY_NAME[name].prepared(), **settings)


def nested() -> nn.Module:
    """No neuron or max-pool is a direct child of the network or of its graph."""
    deep = nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2)), head())
    ann = ecl.prepare(nn.Sequential(deep).eval())
    set_thresholds(ann, torch.randn(8, 1, 6, 6))
    return ann


def steps(snn: SpikingNetwork, *inputs: Tensor, count: int = 3) -> list[Any]:
    return [snn.step(*inputs) for _ in range(count)]


# ------------------------------------------------------------------------------------------ reset


@pytest.mark.parametrize(
    "reset", [utils.reset, ecl.reset, lambda snn: snn.reset(),
              lambda snn: [m.reset_mem() for m in snn.modules() if isinstance(m, Leaky)]],
    ids=["snntorch", "ecl", "method", "later snntorch"],
)  # fmt: skip
def test_after_a_reset_a_network_is_fresh_neurons_and_pools(reset: Callable[[Any], Any]) -> None:
    snn = ecl.convert(nested())
    assert not any(isinstance(m, Temporal) for child in (snn, snn.net) for m in child.children())
    x = torch.randn(2, 1, 6, 6)
    first = steps(snn, x)
    assert not torch.equal(torch.stack(first), torch.stack(steps(snn, x)))
    reset(snn)
    assert torch.equal(torch.stack(first), torch.stack(steps(snn, x)))


def test_reset_cuts_the_graph_of_the_last_sequence() -> None:
    snn = convert("sequential")
    snn.step(*BY_NAME["sequential"].inputs())
    assert any(n.mem.grad_fn is not None for n in snn.neurons.values())
    utils.reset(snn)
    assert all(n.mem.grad_fn is None for n in snn.neurons.values())


def test_reset_leaves_other_networks_alone() -> None:
    one, other = convert("sequential"), convert("sequential")
    x = BY_NAME["sequential"].inputs()
    steps(other, *x)
    before = [n.spike_count.clone() for n in other.neurons.values()]
    one.reset()
    assert all(torch.equal(n.spike_count, b)
               for n, b in zip(other.neurons.values(), before, strict=True))  # fmt: skip
    assert any(bool(b.any()) for b in before)


@pytest.mark.parametrize("name", TYPICAL)
def test_a_run_starts_fresh_whatever_went_before(name: str) -> None:
    snn, x = convert(name), BY_NAME[name].inputs()
    first = snn(*x, num_steps=3)
    steps(snn, *x, count=2)
    assert equal(snn(*x, num_steps=3), first)
    assert close(snn.forward_steps(*[v.expand(3, *v.shape) for v in x]), first)


@pytest.mark.parametrize("name", TYPICAL)
def test_a_run_can_be_continued_step_by_step(name: str) -> None:
    snn, x = convert(name), BY_NAME[name].inputs()
    whole = steps(snn, *x, count=5)[3:]
    snn(*x, num_steps=3)
    assert close(steps(snn, *x, count=2), whole)


# ------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize("net", SMALL, ids=lambda net: net.name)
def test_entry_t_of_the_logits_is_a_run_of_t_plus_1_steps(net: Any) -> None:
    snn, x = spiking(net.name)[1], net.inputs(2)
    with torch.no_grad():
        over_time = torch.utils._pytree.tree_leaves(snn.logits_over_time(*x, num_steps=4))
        for t in range(4):
            runs = torch.utils._pytree.tree_leaves(snn(*x, num_steps=t + 1))
            for entry, run in zip(over_time, runs, strict=True):
                assert entry.shape[0] == 4
                assert torch.allclose(entry[t], run, atol=1e-5)


def test_outputs_keep_their_structure() -> None:
    snn, x = spiking("dict output")[1], BY_NAME["dict output"].inputs()
    assert {k: tuple(v.shape) for k, v in snn(*x, num_steps=2).items()} == {
        "logits": (3, 6), "extra": (3, 3)}  # fmt: skip
    pair = spiking("two outputs")[1].logits_over_time(*BY_NAME["two outputs"].inputs(), num_steps=2)
    assert [tuple(v.shape) for v in pair] == [(2, 3, 3), (2, 3, 6)]


def test_numbers_among_the_outputs_pass_through() -> None:
    ann = wired(lambda m, x: (m.clip(x), x.shape[1]), clip=ecl.ThresholdClip(4, 1.0))
    spikes, width = ecl.convert(ann)(torch.rand(2, 5), num_steps=3)
    assert (spikes.shape, width) == ((2, 5), 5)


# ----------------------------------------------------------------------------------- copies, files


def pickled(snn: SpikingNetwork) -> SpikingNetwork:
    return pickle.loads(pickle.dumps(snn))


def saved_by_torch(snn: SpikingNetwork) -> SpikingNetwork:
    buffer = io.BytesIO()
    torch.save(snn, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("twin_of", [copy.deepcopy, pickled, saved_by_torch])
@pytest.mark.parametrize("name", TYPICAL)
def test_copies_made_in_mid_training_are_fresh_equal_and_independent(
    name: str, twin_of: Any
) -> None:
    snn, x = convert(name, negative_threshold=-0.25), BY_NAME[name].inputs()
    first = steps(snn, *x)
    twin = twin_of(snn)
    assert equal(steps(twin, *x), first)
    steps(twin, *(4 * v for v in BY_NAME[name].inputs(seed=5)))
    utils.reset(twin)
    assert equal(steps(twin, *x), first)
    assert twin.layers == snn.layers
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    snn.reset()
    assert equal(steps(snn, *x), first)


def test_state_dict_goes_round_into_other_weights_and_thresholds() -> None:
    snn, x = convert("residual"), BY_NAME["residual"].inputs()
    other = copy.deepcopy(snn)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            tensor.fill_(1)
    steps(snn, *x)
    other.load_state_dict(snn.state_dict())
    assert equal(other(*x, num_steps=3), snn(*x, num_steps=3))


@pytest.mark.parametrize("name", [net.name for net in SMALL])
def test_a_saved_network_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    snn, net = spiking(name)[1], BY_NAME[name]
    path = snn.save(tmp_path / "deep" / "net.safetensors")
    loaded = ecl.load(path, net.model())
    assert path == tmp_path / "deep" / "net.safetensors"
    with torch.no_grad():
        assert equal(loaded(*net.inputs(), num_steps=3), snn(*net.inputs(), num_steps=3))
    assert loaded.layers == snn.layers


def test_loading_leaves_the_model_alone_and_takes_a_prepared_one_too(tmp_path: Path) -> None:
    snn, net = convert("residual"), BY_NAME["residual"]
    path = snn.save(tmp_path / "net.safetensors")
    ann = ecl.prepare(net.model())
    before = copy.deepcopy(ann.state_dict())
    loaded = ecl.load(path, ann)
    assert equal(loaded(*net.inputs(), num_steps=2), snn(*net.inputs(), num_steps=2))
    after = ann.state_dict()
    assert all(torch.equal(before[k].nan_to_num(), after[k].nan_to_num()) for k in before)


def test_changes_of_single_layers_survive_a_file(tmp_path: Path) -> None:
    snn, net = convert("residual"), BY_NAME["residual"]
    values = (-math.inf, -0.5, 0.0, -1e-3, -0.25)
    for index, neuron in enumerate(snn.neurons.values()):
        neuron.negative_threshold = values[index]
        neuron.initial_membrane = index / 8
    loaded = ecl.load(snn.save(tmp_path / "net.safetensors"), net.model())
    assert [n.negative_threshold for n in loaded.neurons.values()] == list(values)
    assert [n.initial_membrane for n in loaded.neurons.values()] == [0, 1 / 8, 2 / 8, 3 / 8, 4 / 8]
    assert equal(loaded(*net.inputs(), num_steps=4), snn(*net.inputs(), num_steps=4))


def test_thresholds_per_channel_survive_a_file(tmp_path: Path) -> None:
    net = BY_NAME["conv + bn"]
    ann = ecl.prepare(net.model(), per_channel=True).train()
    ann(*net.inputs(8))
    snn = ecl.convert(ann)
    loaded = ecl.load(snn.save(tmp_path / "net.safetensors"), net.model())
    assert [tuple(n.threshold.shape) for n in loaded.neurons.values()] == [(4,), (4,)]
    assert equal(loaded(*net.inputs(), num_steps=4), snn(*net.inputs(), num_steps=4))


@pytest.mark.parametrize("name", TYPICAL)
def test_the_state_dict_holds_weights_and_settings_but_no_sequence(name: str) -> None:
    snn = convert(name)
    before = list(snn.state_dict())
    steps(snn, *BY_NAME[name].inputs())
    assert list(snn.state_dict()) == before
    kept = {"weight", "bias", "threshold", "graded_spikes_factor", "reset_mechanism_val", "beta"}
    assert {key.rpartition(".")[2] for key in before} <= kept


def test_a_surrogate_is_given_anew_at_loading(tmp_path: Path) -> None:
    path = convert("sequential").save(tmp_path / "net.safetensors")
    slope = snntorch.surrogate.fast_sigmoid()
    loaded = ecl.load(path, BY_NAME["sequential"].model(), spike_grad=slope)
    assert {n.spike_grad for n in loaded.neurons.values()} == {slope}


def test_tied_weights_can_be_saved(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        model[2].weight = model[0].weight
        return model

    ann = ecl.prepare(tied())
    set_thresholds(ann, torch.randn(8, 4))
    snn, x = ecl.convert(ann), torch.randn(3, 4)
    loaded = ecl.load(snn.save(tmp_path / "net.safetensors"), tied())
    assert torch.equal(loaded(x, num_steps=2), snn(x, num_steps=2))


def test_a_custom_neuron_is_saved_and_loaded_with_its_handler(tmp_path: Path) -> None:
    class Spiking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    def handlers(beta: float) -> dict[type[nn.Module], Any]:
        return {Spiking: lambda m, site: snntorch.Leaky(beta=beta, init_hidden=True)}

    model = nn.Sequential(nn.Linear(4, 8), ecl.ThresholdClip(4, 1.0), Spiking(), nn.Linear(8, 2))
    snn, x = ecl.convert(model, handlers=handlers(0.75)), torch.rand(3, 4)
    path = snn.save(tmp_path / "net.safetensors")
    loaded = ecl.load(path, model, handlers=handlers(0.25))
    assert torch.equal(loaded(x, num_steps=5), snn(x, num_steps=5))


# ------------------------------------------------------------------------------------ fine-tuning


@pytest.mark.parametrize(("name", "first"), [("residual", "0"), ("max-pool", "0"), ("u-net",
                         "down")])  # fmt: skip
def test_gradients_through_time_reach_the_first_layer_and_a_step_lowers_the_loss(
    name: str, first: str
) -> None:
    snn = convert(name).train()
    x = BY_NAME[name].inputs(8)
    target = torch.randn_like(snn(*x, num_steps=4))
    weight = snn.net.get_submodule(first).weight
    before = weight.detach().clone()
    optimiser = torch.optim.SGD(snn.parameters(), lr=0.01)
    losses = []
    for _ in range(6):
        loss = F.mse_loss(snn(*x, num_steps=4), target)
        optimiser.zero_grad()
        loss.backward()
        assert weight.grad.abs().max() > 0
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert not torch.equal(weight, before)


def test_gradients_of_a_run_are_those_of_stepping() -> None:
    snn, x = convert("residual"), BY_NAME["residual"].inputs()
    snn(*x, num_steps=3).square().sum().backward()
    weights = [p for p in snn.parameters() if p.requires_grad]
    whole = [p.grad.clone() for p in weights]
    snn.zero_grad()
    snn.reset()
    (sum(steps(snn, *x)) / 3).square().sum().backward()
    for a, b in zip(whole, weights, strict=True):
        assert torch.allclose(a, b.grad, rtol=1e-3, atol=1e-5 * float(a.abs().max()))


@pytest.mark.parametrize("name", ["residual", "conv + bn", "transposed conv + bn"])
def test_folded_layers_train_weights_and_biases(name: str) -> None:
    frozen = [n for n, p in convert(name).named_parameters() if not p.requires_grad]
    assert frozen == []


NORMED = ["residual", "conv + bn", "transposed conv + bn", "1-D conv", "3-D conv", "linear + bn",
          "bn of a shared conv"]  # fmt: skip


@pytest.mark.parametrize("name", NORMED)
def test_batch_norms_that_were_kept_fold_into_an_equal_network(name: str) -> None:
    ann, x = BY_NAME[name].prepared().double(), BY_NAME[name].inputs()[0].double()
    folded, kept = ecl.convert(ann), ecl.convert(ann, fold_batchnorms=False)
    norms = [m for m in kept.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == len(norms_of(ann))
    assert close(kept(x, num_steps=4), folded(x, num_steps=4))
    later = kept.fold_batchnorms()
    assert later is kept
    assert later.state_dict().keys() == folded.state_dict().keys()
    assert close(later(x, num_steps=4), folded(x, num_steps=4))


def test_kept_batch_norms_learn_and_fold_with_what_they_learned() -> None:
    snn, x = (
        convert("residual", fold_batchnorms=False).double().train(),
        BY_NAME["residual"].inputs(8),
    )
    x = [part.double() for part in x]
    norm = next(m for m in snn.modules() if isinstance(m, nn.BatchNorm2d))
    before = norm.running_mean.clone(), norm.weight.detach().clone()
    snn(*x, num_steps=3).square().sum().backward()
    torch.optim.SGD(snn.parameters(), lr=1e-3).step()
    assert not torch.equal(norm.running_mean, before[0])
    assert not torch.equal(norm.weight, before[1])
    expected = snn.eval()(*x, num_steps=3).detach()
    assert close(snn.train().fold_batchnorms()(*x, num_steps=3), expected)
    assert not snn.training


@pytest.mark.parametrize("fold", [True, False])
def test_files_remember_whether_batch_norms_were_kept(fold: bool, tmp_path: Path) -> None:
    net = BY_NAME["residual"]
    snn = ecl.convert(net.prepared(), fold_batchnorms=fold)
    loaded = ecl.load(snn.save(tmp_path / "net.safetensors"), net.build())
    assert loaded.state_dict().keys() == snn.state_dict().keys()
    assert torch.equal(loaded(*net.inputs(), num_steps=4), snn(*net.inputs(), num_steps=4))


def test_thresholds_are_not_trained_unless_asked() -> None:
    names = [name for name, _ in convert("residual").named_parameters()]
    assert names
    assert not [name for name in names if "threshold" in name]


# --------------------------------------------------------------------------- the world around it


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["residual", "max-pool", "two inputs"])
def test_it_runs_in_other_precisions(name: str, dtype: torch.dtype) -> None:
    snn, net = convert(name).to(dtype), BY_NAME[name]
    inputs = [x.to(dtype) for x in net.inputs()]
    logits = snn(*inputs, num_steps=4)
    assert logits.dtype is dtype
    assert logits.isfinite().all()
    with torch.no_grad():
        full = spiking(name)[1](*net.inputs(), num_steps=4)
    assert (logits.float() - full).norm() < 0.3 * full.norm()


@pytest.mark.parametrize("name", ["residual", "max-pool", "two inputs", "late batch size"])
def test_compiled_it_gives_the_same_logits(name: str) -> None:
    torch._dynamo.reset()
    snn, x = convert(name), BY_NAME[name].inputs()
    compiled = torch.compile(snn, backend="eager")
    with torch.no_grad():
        expected = snn(*x, num_steps=3)
        assert torch.equal(compiled(*x, num_steps=3), expected)
        assert torch.equal(compiled(*x, num_steps=3), expected)


def test_snntorchs_monitors_see_every_step() -> None:
    snn, x = convert("residual"), BY_NAME["residual"].inputs()
    monitor = probe.OutputMonitor(snn, DualThreshold)
    outputs = steps(snn, *x, count=4)
    assert monitor.monitored_layers == [f"net.{layer.name}" for layer in snn.layers]
    for layer in snn.layers:
        spikes = torch.stack(monitor[f"net.{layer.name}"])
        theta = snn.neurons[layer.name].threshold
        assert spikes.shape[:2] == (4, 3)
        assert set((spikes / theta).unique().tolist()) <= {-1, 0, 1}
    monitor.remove_hooks()
    assert torch.allclose(torch.stack(outputs).mean(0), snn(*x, num_steps=4), atol=1e-6)


def test_twenty_networks_leave_no_neuron_in_snntorchs_list() -> None:
    spiking("sequential")
    gc.collect()
    before = len(snntorch.SpikingNeuron.instances)
    for _ in range(20):
        snn = convert("max-pool")
        snn(*BY_NAME["max-pool"].inputs(), num_steps=2)
    assert len(snntorch.SpikingNeuron.instances) > before
    del snn
    gc.collect()
    assert len(snntorch.SpikingNeuron.instances) == before


def test_pools_are_exact_pools_of_the_kind_they_were() -> None:
    snn = spiking("max-pool overlapping")[1]
    (pool,) = (m for m in snn.modules() if isinstance(m, SignedMaxPool))
    assert (pool.pool.kernel_size, pool.pool.stride, pool.pool.padding) == (3, 1, 1)


# ---------------------------------------------------------------------------------------- summary


def summarised() -> SpikingNetwork:
    ann = nn.Sequential(
        nn.Conv2d(2, 4, 3), ecl.ThresholdClip(4, 1.5), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16, 5), ecl.ThresholdClip(None, torch.tensor([0.5, 1.0, 2.0, 1.0, 1.0])),
        nn.Linear(5, 3, bias=False),
    )  # fmt: skip
    return ecl.convert(ann)


ROWS = [
    ("0", "Conv2d", (4, 4, 4), None, None, 4 * 2 * 9 + 4),
    ("1", "DualThreshold", (4, 4, 4), (1.5, 1.5), 4, 1),
    ("2", "SignedMaxPool", (4, 2, 2), None, None, 0),
    ("3", "Flatten", (16,), None, None, 0),
    ("4", "Linear", (5,), None, None, 16 * 5 + 5),
    ("5", "DualThreshold", (5,), (0.5, 2.0), None, 5),
    ("6", "Linear", (3,), None, None, 15),
]


def test_summary_counts_by_hand() -> None:
    summary = summarised().summary(torch.rand(2, 2, 6, 6))
    rows = [(r.name, r.kind, r.shape, r.threshold, r.levels, r.parameters) for r in summary.rows]
    assert rows == ROWS
    assert summary.parameters == 76 + 1 + 85 + 5 + 15


def test_summary_without_an_example_leaves_shapes_open() -> None:
    assert {row.shape for row in summarised().summary().rows} == {None}


def test_summary_prints_every_row_and_goes_to_json() -> None:
    summary = summarised().summary(torch.rand(1, 2, 6, 6))
    text = str(summary)
    for part in ("182 parameters", "4 × 4 × 4", "0.5 … 2", "1.5", "SignedMaxPool", "76", "–"):
        assert part in text
    loaded = json.loads(json.dumps(summary.to_dict()))
    assert loaded["parameters"] == 182
    assert [row["name"] for row in loaded["layers"]] == [row[0] for row in ROWS]


def test_summary_leaves_no_hook_and_no_state() -> None:
    snn = summarised()
    snn.summary(torch.rand(2, 2, 6, 6))
    assert not [m for m in snn.modules() if m._forward_hooks]
    snn.step(torch.rand(3, 2, 6, 6))


def test_summary_counts_layers_called_twice_once_and_no_holds() -> None:
    rows = spiking("shared conv")[1].summary().rows
    assert [row.name for row in rows].count("c") == 1
    assert "Hold" not in {row.kind for row in spiking("late input")[1].summary().rows}


def test_summary_counts_weights_that_stand_outside_layers() -> None:
    weight = nn.Parameter(torch.ones(2, 4))
    ann = wired(lambda m, x: F.linear(m.clip(x), m.weight), clip=ecl.ThresholdClip(4, 1.0),
                weight=weight)  # fmt: skip
    assert ecl.convert(ann).summary().parameters == 8 + 1


def test_printing_a_network_says_in_a_few_lines_what_it_is() -> None:
    assert str(summarised()).split("\n") == [
        "SpikingNetwork with 2 layers of dual-threshold neurons",
        "  made for T = L = 4, 182 parameters; spikes worth θ",
        "  1  θ = 1.5",
        "  5  θ = 0.5 … 2",
        "  (all layers and their shapes: snn.summary(images))",
    ]


def test_printing_tells_how_a_network_was_converted_and_runs() -> None:
    ann = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), ecl.ThresholdClip(2, 1.0), nn.Tanh(),
                        nn.Linear(3, 3), ecl.ThresholdClip(8, 1.0))  # fmt: skip
    leaky = {nn.Tanh: lambda module, site: snntorch.Leaky(beta=0.5, init_hidden=True)}
    settings = {"unit_spikes": True, "fold_batchnorms": False, "handlers": leaky}
    snn = ecl.convert(ann, negative_threshold=-math.inf, **settings).compile()
    first, second, *_ = str(snn).split("\n")
    assert first == "SpikingNetwork with 2 layers of IF neurons and 1 layer of Leaky"
    assert "T = L = 2 to 8" in second
    assert "spikes of −1, 0 and +1; batch norms not folded; compiled time loop" in second
    assert "3  Leaky" in str(snn)
    unbounded = ecl.convert(nn.Sequential(ecl.ThresholdClip(None, 1.0), nn.Linear(2, 2)))
    assert "made for many time steps" in str(unbounded.to("meta"))


def test_printing_a_deep_network_stays_short() -> None:
    text = str(ecl.convert(nn.Sequential(*(ecl.ThresholdClip(4, 0.5 + i) for i in range(40)))))
    assert len(text.split("\n")) < 16
    assert "7   θ = 7.5\n  … 29 more layers …\n  37  θ = 37.5" in text


def test_a_notebook_shows_the_summary_as_a_table() -> None:
    assert '<td style="text-align: left">2</td>' in summarised().summary()._repr_html_()


def test_neurons_are_named_in_running_order() -> None:
    snn = spiking("residual")[1]
    assert list(snn.neurons) == ["1", "2.relu", "2.relu_1", "3.relu", "3.relu_1"]
    assert all(isinstance(n, DualThreshold) for n in snn.neurons.values())


# ------------------------------------------------------------------- steps and what resets them


def test_steps_go_on_where_no_neuron_is_dual_threshold() -> None:
    def leaky(module: nn.Module, site: Any) -> nn.Module:
        return snntorch.Leaky(1.0, init_hidden=True, reset_delay=False)

    ann = nn.Sequential(nn.Linear(4, 6), ecl.ThresholdClip(4, 1.0), nn.Linear(6, 3)).eval()
    snn = ecl.convert(ann, handlers={ecl.ThresholdClip: leaky})
    x = torch.rand(5, 4)
    whole = snn(x, num_steps=4)
    snn.reset()
    torch.testing.assert_close(torch.stack(steps(snn, x, count=4)).mean(0), whole)


def test_a_membrane_assigned_after_a_reset_is_where_the_sequence_begins() -> None:
    ann = nn.Sequential(nn.Identity(), ecl.ThresholdClip(4, 1.0)).eval()
    snn = ecl.convert(ann)
    snn.step(torch.zeros(1, 2))
    snn.reset()
    (neuron,) = snn.neurons.values()
    neuron.mem = torch.tensor([[0.4, 0.0]])
    assert snn.step(torch.full((1, 2), 0.2)).tolist() == [[1.0, 0.0]]


def test_the_state_of_a_sequence_moves_with_the_network() -> None:
    snn, x = ecl.convert(nested()), torch.randn(2, 1, 6, 6)
    steps(snn, x, count=2)
    third = copy.deepcopy(snn)  # copies begin anew, so the truth is a run of its own
    expected = steps(third, x, count=3)[-1]
    snn.double()
    torch.testing.assert_close(snn.step(x.double()).float(), expected)


def test_a_model_that_does_not_prepare_is_an_error_of_the_file(tmp_path: Path) -> None:
    path = convert("sequential").save(tmp_path / "a")
    with pytest.raises(ecl.errors.CheckpointError, match="does not convert"):
        ecl.load(path, nn.Linear(4, 2))
