"""NIR: a graph that went through a file spikes equally; its metadata is all a reader needs."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

import snntorch_ecl as ecl
from snntorch_ecl.errors import InputError, UnsupportedError

from ..helpers.nets import BY_NAME, Net, exact, over
from ..helpers.parts import conv, on_grid, recorded, wired
from .test_settle import dyadic

KNOWN = ["sequential", "residual", "overwritten shortcut", "overwriting functions", "avg-pool",
         "view(-1, n)", "stem shortcut", "two inputs", "two outputs", "shared conv", "concat",
         "late input", "linear + bn", "bn before conv", "shared block"]  # fmt: skip


def written(graph: Any, folder: Path) -> Any:
    nir.write(folder / "graph.nir", graph)
    return nir.read(folder / "graph.nir")


def small(**settings: Any) -> ecl.SpikingNetwork:
    torch.manual_seed(0)
    clips = [ecl.ThresholdClip(4, 0.5), ecl.ThresholdClip(4, torch.tensor([0.5, 1.0, 0.25]))]
    ann = nn.Sequential(nn.Linear(4, 6), clips[0], nn.Linear(6, 3), clips[1], nn.Linear(3, 2))
    return ecl.convert(ann, **settings)


@over([BY_NAME[name] for name in KNOWN])
def test_a_graph_that_went_through_a_file_spikes_equally(net: Net, tmp_path: Path) -> None:
    snn, inputs = exact(net.name), tuple(on_grid(x, 16) for x in net.inputs())
    again = ecl.from_nir(written(ecl.to_nir(snn, *inputs), tmp_path))
    expected, found = (tree_leaves(s(*inputs, num_steps=4)) for s in (snn, again))
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b)
    counts = [[int(n.spike_count.sum()) for n in s.neurons.values()] for s in (snn, again)]
    assert sorted(counts[0]) == sorted(counts[1])
    assert sum(counts[0]) > 0
    levels = [sorted(str(layer.levels) for layer in s.layers) for s in (snn, again)]
    assert levels[0] == levels[1]


def test_a_network_that_ran_on_another_batch_is_written_as_a_fresh_one() -> None:
    snn = small()
    fresh = ecl.to_nir(snn, torch.rand(3, 4))
    snn(torch.rand(2, 4), num_steps=3)
    assert list(ecl.to_nir(snn, torch.rand(3, 4)).nodes) == list(fresh.nodes)


def simulated(graph: Any, x: Any, num_steps: int) -> Any:
    """A chain of NIR nodes, run as the page on chips tells a reader to."""
    chain = ["input"] if "input" in graph.nodes else [next(iter(graph.inputs))]
    following = dict(graph.edges)
    while chain[-1] in following:
        chain.append(following[chain[-1]])
    nodes = [graph.nodes[name] for name in chain]
    state = {i: [node.metadata["ecl_start"] * node.v_threshold, 0]
             for i, node in enumerate(nodes) if isinstance(node, nir.IF)}  # fmt: skip
    total = 0
    for _ in range(num_steps):
        value = x
        for i, node in enumerate(nodes):
            if isinstance(node, nir.Affine):
                value = value @ node.weight.T + node.bias
            elif isinstance(node, nir.Scale):
                value = value * node.scale
            elif isinstance(node, nir.IF):
                lowest, highest = node.metadata["ecl_spikes"]
                v, n = state[i]
                v = v + value
                value = highest * (v >= node.v_threshold)
                if lowest < 0:
                    below = v <= node.metadata["ecl_negative_threshold"]
                    value = value + lowest * (below & (n > node.metadata["ecl_lowest_count"]))
                state[i] = [v - node.v_threshold * value, n + value]
        total = total + value
    return total / num_steps


@pytest.mark.parametrize("unit_spikes", [False, True])
@pytest.mark.parametrize("lower", [-1e-3, -0.25, -float("inf")])
def test_weights_and_metadata_are_all_that_a_reader_needs(
    unit_spikes: bool, lower: float, tmp_path: Path
) -> None:
    snn = small(negative_threshold=lower, initial_membrane=0.25, unit_spikes=unit_spikes)
    x = torch.rand(5, 4) * 4 - 2
    graph = written(ecl.to_nir(snn, x), tmp_path)
    found = simulated(graph, x.numpy(), 6)
    expected = snn(x, num_steps=6)
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-5)
    again = ecl.from_nir(graph)
    torch.testing.assert_close(again(x, num_steps=6), expected)
    settings = [[n.settings() for n in s.neurons.values()] for s in (snn, again)]
    assert settings[0] == settings[1]


def test_clock_pulses_go_through_a_file(tmp_path: Path) -> None:
    ann, snn = dyadic(BY_NAME["residual"])
    x = on_grid(BY_NAME["residual"].inputs()[0], 16)
    chip = ecl.settle_then_fire(snn, [x], num_steps=4)
    again = ecl.from_nir(written(ecl.to_nir(chip, x), tmp_path))
    assert again.latency == chip.latency
    _, spikes = recorded(chip, lambda: chip(x))
    found, others = recorded(again, lambda: again(x))
    torch.testing.assert_close(found, ann(x))
    counts = [[int((s[f"net.{n}"] != 0).sum()) for n in net.neurons]
              for net, s in ((chip, spikes), (again, others))]  # fmt: skip
    assert sorted(counts[0]) == sorted(counts[1])
    assert sum(counts[0]) > 0


@over([BY_NAME[name] for name in ("max-pool", "max-pool overlapping", "F.max_pool2d")])
def test_max_pooling_of_settled_spikes_is_a_sum_and_a_threshold(net: Net, tmp_path: Path) -> None:
    snn = ecl.convert(net.prepared(4), unit_spikes=True)
    for parameter in snn.parameters():
        parameter.data = on_grid(parameter, 16)
    x = on_grid(net.inputs()[0], 16)
    chip = ecl.settle_then_fire(snn, [x], num_steps=4)
    graph = written(ecl.to_nir(chip, x), tmp_path)
    kinds = [type(node).__name__ for node in graph.nodes.values()]
    assert kinds.index("SumPool2d") + 1 == kinds.index("Threshold")
    assert torch.equal(ecl.from_nir(graph)(x), chip(x))
    with pytest.raises(UnsupportedError, match=r"worth θ[^!]*Convert with unit_spikes=True"):
        ecl.to_nir(ecl.settle_then_fire(dyadic(net)[1], [x], num_steps=4), x)


def test_groups_means_and_batch_norms_are_written(tmp_path: Path) -> None:
    net = wired(lambda m, x: m.f(m.r(m.n(m.d(m.s(m.a(x))))).mean((2, 3))), a=conv(), s=nn.ReLU(),
                d=nn.Conv2d(4, 8, 3, groups=2), n=nn.BatchNorm2d(8), r=nn.ReLU(),
                f=nn.Linear(8, 3))  # fmt: skip
    ann, x = (
        ecl.calibrate(ecl.prepare(net), [torch.rand(8, 2, 6, 6)], progress=False),
        torch.rand(3, 2, 6, 6),
    )
    snn = ecl.convert(ann, fold_batchnorms=False)
    graph = written(ecl.to_nir(snn, x), tmp_path)
    assert {getattr(node, "groups", 1) for node in graph.nodes.values()} == {1}
    torch.testing.assert_close(ecl.from_nir(graph)(x, num_steps=4), snn(x, num_steps=4))


def test_layers_that_nir_lacks_are_listed_with_what_to_do() -> None:
    net = wired(lambda m, x: m.c(m.p(m.r(m.a(x))) + m.p(m.r(m.b(x)))), a=conv(), b=conv(),
                r=nn.ReLU(), p=nn.MaxPool2d(2), c=nn.ConvTranspose2d(4, 3, 2))  # fmt: skip
    ann = ecl.prepare(net)
    ann.train()(torch.rand(8, 2, 6, 6))
    told = r"3 place\(s\) [^!]*SignedMaxPool[^!]*ConvTranspose2d[^!]*AvgPool2d[^!]*settle_then_fire"
    with pytest.raises(UnsupportedError, match=told):
        ecl.to_nir(ecl.convert(ann), torch.rand(1, 2, 6, 6))
    split = ecl.convert(BY_NAME["split"].prepared(4))
    with pytest.raises(UnsupportedError, match=r"chunk\(\) in forward[^!]*getitem"):
        ecl.to_nir(split, *BY_NAME["split"].inputs())


def test_kernels_that_nir_takes_to_be_square_are_refused() -> None:
    flat = nn.Sequential(nn.Conv2d(2, 4, (3, 1)), ecl.ThresholdClip(4, 1.0), conv(4))
    with pytest.raises(UnsupportedError, match=r"nir does not take the graph: [^!]*square ker"):
        ecl.to_nir(ecl.convert(flat), torch.rand(1, 2, 6, 6))


def test_an_example_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"takes 1 input\(s\); got 2"):
        ecl.to_nir(small(), torch.rand(1, 4), torch.rand(1, 4))
    with pytest.raises(InputError, match=r"0 \(Linear\) takes .* and is given \[1, 5\]"):
        ecl.to_nir(small(), torch.rand(2, 5))


def affine(inputs: int = 4, outputs: int = 4) -> Any:
    return nir.Affine(np.ones((outputs, inputs), "f4"), np.zeros(outputs, "f4"))


def graph_of(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> Any:
    ends = {"in": nir.Input({"input": np.array([4])}), "out": nir.Output({"output": np.array([4])})}
    return nir.NIRGraph({**ends, **nodes}, edges, type_check=False)


def test_cycles_are_refused() -> None:
    nodes = {"a": affine(), "b": affine()}
    edges = [("in", "a"), ("a", "b"), ("b", "a"), ("b", "out")]
    with pytest.raises(InputError, match="a cycle through a, b"):
        ecl.from_nir(graph_of(nodes, edges))


def test_nodes_that_are_not_known_are_listed() -> None:
    one = np.ones(4, "f4")
    nodes = {"lif": nir.LIF(one, one, one, one), "if": nir.IF(one, one)}
    edges = [("in", "lif"), ("lif", "if"), ("if", "out")]
    with pytest.raises(UnsupportedError) as caught:
        ecl.from_nir(graph_of(nodes, edges))
    assert "lif (LIF): a node of this kind is not known" in str(caught.value)
    assert "if (IF): its metadata lacks ecl_reset, " in str(caught.value)


def test_thresholds_that_differ_within_a_channel_are_refused() -> None:
    snn = ecl.convert(nn.Sequential(conv(), ecl.ThresholdClip(4, 1.0), conv(4)))
    graph = ecl.to_nir(snn, torch.rand(1, 2, 6, 6))
    (neuron,) = (node for node in graph.nodes.values() if isinstance(node, nir.IF))
    assert neuron.v_threshold.shape == (4, 6, 6)
    neuron.v_threshold = neuron.v_threshold.copy()
    neuron.v_threshold[0, 0, 0] = 2
    with pytest.raises(UnsupportedError, match="its thresholds differ within a channel"):
        ecl.from_nir(graph)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([("in", "a"), ("a", "lost")], "name nodes that it lacks: .*lost"),
        ([("in", "out")], "no edge of the NIR graph leads to a"),
    ],
)
def test_graphs_with_loose_ends_are_refused(edges: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ecl.from_nir(graph_of({"a": affine()}, edges))


def test_only_graphs_are_read() -> None:
    with pytest.raises(InputError, match=r"takes a nir\.NIRGraph; got dict"):
        ecl.from_nir({})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ecl_version", 2, "its ecl_version is 2, and only 1 is known"),
        ("ecl_reset", "to_value", "its ecl_reset is 'to_value', and only 'subtract'"),
        ("ecl_fires_at", ">", "its ecl_fires_at is '>', and only '>='"),
        ("ecl_spikes", np.array([0, 4]), r"its ecl_spikes is \[0, 4\], and only \[-1, 1\]"),
        ("ecl_lowest_count", -5, "its ecl_lowest_count is -5, and only 0"),
        ("ecl_start", "a", "its ecl_start is no number: 'a'"),
        ("ecl_start", 2.0, r"must lie in \[0, 1\]; got 2"),
        ("ecl_negative_threshold", 1.0, "negative_threshold must be <= 0"),
        ("ecl_levels", -3, "_1: its ecl_levels must be a whole number >= 0; got -3"),
        ("ecl_pulses", np.zeros((3, 99)), r"ecl_pulses have shape \[3, 99\], and not \[steps, 6\]"),
        ("ecl_pulses", "abc", "its ecl_pulses are no numbers: 'abc'"),
        ("ecl_latency", 2.5, "_1: its ecl_latency must be a whole number >= 0; got 2.5"),
    ],
)
def test_metadata_that_is_not_known_is_refused(key: str, value: Any, message: str) -> None:
    graph = ecl.to_nir(small(), torch.rand(1, 4))
    first = next(node for node in graph.nodes.values() if isinstance(node, nir.IF))
    first.metadata[key] = value
    with pytest.raises((InputError, UnsupportedError), match=message):
        ecl.from_nir(graph)


@pytest.mark.parametrize(
    ("weight", "bias", "message"),
    [
        (np.full((6, 4), np.nan), np.zeros(6), "its weights hold NaN or infinity"),
        (np.ones(6), np.zeros(6), r"its weights have shape \[6\], and not 2 dimensions"),
        (np.ones((6, 4)), np.zeros(9), r"its biases have shape \[9\], and its weights \[6, 4\]"),
        (np.full((6, 4), "x"), np.zeros(6), "its weights are no numbers"),
    ],
)
def test_weights_that_are_none_are_refused(weight: Any, bias: Any, message: str) -> None:
    graph = ecl.to_nir(small(), torch.rand(1, 4))
    first = next(node for node in graph.nodes.values() if isinstance(node, nir.Affine))
    first.weight, first.bias = weight, bias
    with pytest.raises(UnsupportedError, match=message):
        ecl.from_nir(graph)


def test_numbers_of_any_type_are_read_in_float32() -> None:
    snn, x = small(), torch.rand(3, 4)
    graph = ecl.to_nir(snn, x)
    for node in graph.nodes.values():
        if isinstance(node, nir.Affine):
            node.weight, node.bias = node.weight.astype("f8"), node.bias.astype("f8")
    assert torch.equal(ecl.from_nir(graph)(x, num_steps=3), snn(x, num_steps=3))


def test_names_that_torch_cannot_have_for_modules_stay_different() -> None:
    def twice(factor: float) -> Any:
        return nir.Affine(factor * np.eye(4, dtype="f4"), np.zeros(4, "f4"))

    names = ["a.b", "a_b", "a b", "forward", "0"]
    nodes = {name: twice(2.0 + index) for index, name in enumerate(names)}
    path = ["in", *names, "out"]
    net = ecl.from_nir(graph_of(nodes, list(pairwise(path))))
    assert torch.equal(net(torch.ones(1, 4), num_steps=1), torch.full((1, 4), 2.0 * 3 * 4 * 5 * 6))
