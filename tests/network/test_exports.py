"""Converted networks exported, traced and vectorised: same answers, at other batch sizes too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

import snntorch_ecl as ecl
from snntorch_ecl.errors import InputError

T = 4
BATCH = torch.export.Dim("batch", min=1, max=256)
pytestmark = pytest.mark.usefixtures("seeded_without_gradients")


class Run(nn.Module):
    """A network with its T, in one of the ways to run it."""

    def __init__(self, snn: ecl.SpikingNetwork, way: str = "forward") -> None:
        super().__init__()
        self.snn, self.way = snn, way

    def forward(self, x: Tensor) -> Any:
        if self.way == "over time":
            return self.snn.logits_over_time(x, num_steps=T)
        if self.way == "forward_steps":
            return self.snn.forward_steps(x)
        return self.snn(x, num_steps=T)


def network(**settings: Any) -> ecl.SpikingNetwork:
    torch.manual_seed(0)
    ann = nn.Sequential(
        nn.Conv2d(2, 4, 3), ecl.ThresholdClip(4, 0.7), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2),
        ecl.ThresholdClip(4, 0.5), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip
    return ecl.convert(ann, **settings)


def images(count: int) -> Tensor:
    return torch.randn(count, 2, 8, 8, generator=torch.Generator().manual_seed(count))


def close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    "way", ["forward", pytest.param("over time", marks=pytest.mark.slow), "forward_steps"]
)
def test_an_exported_program_takes_any_batch_size(way: str) -> None:
    run = Run(network(), way)
    time = (T, 1, 1, 1, 1) if way == "forward_steps" else (1, 1, 1, 1)
    axis = len(time) - 4
    program = torch.export.export(
        run, (images(5).repeat(time),), dynamic_shapes={"x": {axis: BATCH}}, strict=False
    ).module()
    for count in (5, 3, 1, 17):
        x = images(count).repeat(time)
        assert close(program(x), run(x))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:While compiling")  # the state that the program leaves
def test_with_unit_spikes_and_in_strict_mode_as_well() -> None:
    run = Run(network(unit_spikes=True))
    program = torch.export.export(
        run, (images(5),), dynamic_shapes={"x": {0: BATCH}}, strict=True
    ).module()
    assert close(program(images(3)), run(images(3)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnxruntime_computes_the_same_at_any_batch_size(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run = Run(network())
    program = torch.export.export(run, (images(5),), dynamic_shapes={"x": {0: BATCH}}, strict=False)
    exported = torch.onnx.export(program, dynamo=True, verbose=False)
    assert exported is not None
    exported.save(str(tmp_path / "net.onnx"))
    session = runtime.InferenceSession(
        str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"]
    )
    (name,) = (entry.name for entry in session.get_inputs())
    for count in (5, 3, 17):
        (got,) = session.run(None, {name: images(count).numpy()})
        assert close(torch.from_numpy(got), run(images(count)))


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::torch.jit.TracerWarning")
def test_traced_by_jit_it_takes_any_batch_size() -> None:
    run = Run(network())
    traced = torch.jit.trace(run, (images(5),))
    for count in (5, 3):
        assert close(traced(images(count)), run(images(count)))


def test_vectorised_it_computes_each_batch() -> None:
    snn, x = network(), images(6).view(3, 2, 2, 8, 8)
    got = torch.vmap(lambda batch: snn(batch, num_steps=T))(x)
    assert all(neuron.is_fresh for neuron in snn.neurons.values())  # vmap's tensors are of no use
    assert close(got, torch.stack([snn(batch, num_steps=T) for batch in x]))
    snn.reset()
    assert close(snn.step(images(2)), snn(images(2), num_steps=1))


@pytest.mark.parametrize("mode", ["real", pytest.param("symbolic", marks=pytest.mark.slow)])
def test_make_fx_records_its_operations(mode: str) -> None:
    snn = network()
    graph = make_fx(lambda x: snn(x, num_steps=T), tracing_mode=mode, _allow_non_fake_inputs=True)(
        images(5)
    )
    assert close(graph(images(5)), snn(images(5), num_steps=T))
    if mode == "symbolic":
        assert close(graph(images(3)), snn(images(3), num_steps=T))


@pytest.mark.parametrize("transform", [torch.vmap, torch.func.grad])
def test_what_torch_func_cannot_differentiate_is_refused(transform: Any) -> None:
    snn, x = network(), images(2)
    with torch.enable_grad():
        with pytest.raises(InputError, match=r"torch\.func.*torch\.no_grad\(\)"):
            transform(lambda x: snn(x, num_steps=T).sum())(x[None])
        assert snn(x, num_steps=T).requires_grad


def test_functional_call_uses_the_parameters_it_is_given() -> None:
    snn, other, x = network(), network(), images(3)
    for parameter in other.parameters():
        parameter.mul_(1.1)
    got = torch.func.functional_call(snn, dict(other.named_parameters()), (x,), {"num_steps": T})
    assert close(got, other(x, num_steps=T))
    assert not close(got, snn(x, num_steps=T))
