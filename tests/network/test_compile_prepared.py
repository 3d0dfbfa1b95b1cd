"""A prepared network compiled in place, to train, from which nothing can leak."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.optim.swa_utils import AveragedModel

import snntorch_ecl as ecl
from snntorch_ecl.network import PreparedNetwork
from tests.helpers.parts import clips_of

pytestmark = [  # torch.compile's own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]


def relu_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)
    )


def images(count: int = 16) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1))


def prepared() -> nn.Module:
    ann = ecl.prepare(relu_network(), levels=4).train()
    ann(images())
    return settled(ann)


def settled(ann: nn.Module) -> nn.Module:
    """Thresholds that are given do not follow the first batches."""
    for clip in clips_of(ann).values():
        clip.threshold = clip.threshold
    return ann


@pytest.fixture(scope="module")
def compiled() -> nn.Module:
    """Compiled once for all tests that only read."""
    ann = prepared().compile()
    ann(images()).sum().backward()
    return ann


def gradients(net: nn.Module) -> list[Tensor]:
    net.zero_grad()
    net(images()).square().sum().backward()
    return [p.grad.clone() for p in net.parameters()]  # type: ignore[union-attr]


def graphs_made(call: Callable[[], Any]) -> int:
    before = counters["stats"]["unique_graphs"]
    call()
    return int(counters["stats"]["unique_graphs"] - before)


def test_outputs_and_gradients_are_those_of_the_plain_network(compiled: nn.Module) -> None:
    plain = prepared()
    torch.testing.assert_close(compiled(images()), plain(images()))
    for own, expected in zip(gradients(compiled), gradients(plain), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)


def test_copies_train_like_the_network_and_are_not_compiled(compiled: nn.Module) -> None:
    averaged = AveragedModel(compiled)
    averaged.update_parameters(compiled)
    pickled = pickle.loads(pickle.dumps(compiled))
    for twin in (copy.deepcopy(compiled), averaged.module, pickled):
        assert isinstance(twin, PreparedNetwork)  # it could be compiled as well
        assert graphs_made(lambda twin=twin: twin(images())) == 0
        torch.testing.assert_close(twin(images()), compiled(images()))
        for own, expected in zip(gradients(twin), gradients(compiled), strict=True):
            torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)


def test_a_compiled_network_converts(compiled: nn.Module) -> None:
    snn = ecl.convert(copy.deepcopy(compiled).eval())
    made = ecl.convert(compiled.eval())
    compiled.train()
    with torch.no_grad():
        assert torch.equal(made(images(), num_steps=3), snn(images(), num_steps=3))


def test_the_output_of_a_clip_is_not_kept_beside_its_input(compiled: nn.Module) -> None:
    """λ's gradient needs the input; the next layer's weights need the output, made again."""
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        compiled(images())
    wide = {t.untyped_storage().data_ptr() for t in kept if t.shape == (16, 32)}
    assert len(wide) == 2  # one for each of two clips


def test_without_a_compiler_it_warns_and_goes_on(no_compiler: None) -> None:
    ann = prepared()
    with pytest.warns(UserWarning, match="nothing can be compiled"):
        ann.compile()
    assert graphs_made(lambda: ann(images()).sum().backward()) == 0


# ------------------------------------------- without machine code; what was compiled is forgotten


def test_it_compiles_once_the_thresholds_have_started(traced_only: None) -> None:
    ann = ecl.prepare(relu_network()).compile().train()
    # The first batch sets the thresholds, a hundred more may raise them.
    assert graphs_made(lambda: [ann(images()) for _ in range(101)]) == 0
    assert all(clip.is_set for clip in ann.modules() if isinstance(clip, ecl.ThresholdClip))
    assert graphs_made(lambda: ann(images())) == 1


def test_it_can_be_undone(traced_only: None) -> None:
    torch.compiler.reset()
    ann = prepared().compile()
    assert graphs_made(lambda: ann(images())) == 1
    torch.compiler.reset()
    assert ann.compile(False) is ann
    assert graphs_made(lambda: ann(images())) == 0


@pytest.fixture
def balanced() -> Iterator[None]:
    """Whoever has hooks on saved tensors has the same ones afterwards."""
    packed: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t, lambda t: t):
        yield
        packed.clear()
        torch.rand(2, requires_grad=True).sin()  # it saves its input
        assert len(packed) == 1
    packed.clear()
    torch.rand(2, requires_grad=True).sin()
    assert not packed
    assert torch.func.grad(lambda x: (x**2).sum())(torch.tensor(3.0)) == 6


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, pytest.param(ValueError, marks=pytest.mark.slow)]
)
def test_an_interrupt_in_the_middle_of_a_forward_leaves_nothing(
    error: type[BaseException], balanced: None, traced_only: None
) -> None:
    ann = prepared().compile()

    def interrupt(module: nn.Module, args: Any) -> None:
        raise error("stop")

    hook = ann.get_submodule("2").register_forward_pre_hook(interrupt)
    with pytest.raises((error, RuntimeError)):
        ann(images())
    hook.remove()
    ann(images()).sum().backward()
