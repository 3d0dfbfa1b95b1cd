"""Networks as training hands them over: unwrapped where possible, else refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError, UnsupportedError

T = 4


def relu_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).eval()


def prepared() -> nn.Module:
    ann = ecl.prepare(relu_network())
    ann.get_submodule("1").threshold = 0.8
    return ann


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


def parallel(model: nn.Module) -> nn.Module:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASTER_ADDR", "localhost")
        torch.distributed.init_process_group(
            "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
        )
        try:
            return nn.parallel.DistributedDataParallel(model)
        finally:
            torch.distributed.destroy_process_group()


def lightning_module(model: nn.Module) -> nn.Module:
    lightning = pytest.importorskip("lightning.pytorch")

    class Lit(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def forward(self, x: torch.Tensor) -> Any:
            return self.net(x)

    return Lit()


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    "compiled": compiled,
    "compiled in place": compiled_in_place,
    "a compiled part": lambda model: nn.Sequential(compiled(model), nn.Identity()),
    "DataParallel": nn.DataParallel,
    "DDP": parallel,
    "AveragedModel": AveragedModel,
    "Lightning": lightning_module,
    "several": lambda model: AveragedModel(nn.DataParallel(compiled(model))),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_network_converts_as_the_one_inside(wrapper: str) -> None:
    x = torch.randn(8, 4)
    wrapped = WRAPPERS[wrapper](prepared())
    weights = copy.deepcopy(wrapped.state_dict())
    with torch.no_grad():
        expected = ecl.convert(prepared())(x, num_steps=T)
        assert torch.equal(ecl.convert(wrapped)(x, num_steps=T), expected)
        relu = ecl.prepare(WRAPPERS[wrapper](relu_network()))
        assert torch.equal(relu(x), relu_network()(x))
    calibrated = ecl.calibrate(wrapped, [x], method="max", progress=False)
    of_inside = ecl.calibrate(prepared(), [x], method="max", progress=False)
    with torch.no_grad():
        assert torch.equal(calibrated(x), of_inside(x))
    for key, value in wrapped.state_dict().items():
        assert torch.equal(value, weights[key])


def peft(model: nn.Module) -> nn.Module:
    """A stand-in for peft's model, which takes seconds to import."""
    kind = type("PeftModel", (nn.Sequential,), {"__module__": "peft.peft_model"})
    wrapped: nn.Module = kind(model)
    return wrapped


class Quantised(nn.Module):
    """A stand-in for ``torch.ao``'s layers, which newer releases of torch will lose."""

    __module__ = "torch.ao.nn.quantized.dynamic.modules.linear"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def quantised(model: nn.Module) -> nn.Module:
    return nn.Sequential(*model.children(), Quantised())


def traced(model: nn.Module) -> Any:
    return torch.jit.trace(model, torch.rand(3, 4))


def without_forward(model: nn.Module) -> nn.Module:
    lightning = pytest.importorskip("lightning.pytorch")
    module: nn.Module = lightning.LightningModule()
    module.net = model
    return module


HIDDEN: dict[str, tuple[Callable[[nn.Module], Any], str]] = {
    "scripted": (traced, r"the model \(TopLevelTracedModule\): it is compiled by torch.jit"),
    "a scripted part": (
        lambda model: nn.Sequential(traced(model), nn.ReLU()),
        r"0 \(TopLevelTracedModule\): it is compiled by torch.jit\n.*scripted or traced",
    ),
    "peft": (peft, r"the model \(PeftModel\): it is a peft adapter\n.*merge_and_unload"),
    "quantised": (quantised, r"3 \(Quantised\): it is quantised\n.*before its quantisation"),
    "exported": (
        lambda model: torch.export.export(model, (torch.rand(3, 4),)).module(),
        r"it is an exported program\nGive the Python module",
    ),
    "Lightning": (without_forward, r"LightningModule without forward\(\)\n.*submodules: net"),
}


@pytest.mark.parametrize("kind", HIDDEN)
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:Warning")
def test_what_hides_its_layers_is_refused_by_its_name(kind: str) -> None:
    wrap, message = HIDDEN[kind]
    wrapped = wrap(relu_network())
    for verb in (ecl.prepare, ecl.convert, lambda model: ecl.calibrate(model, [])):
        with pytest.raises(UnsupportedError, match=message):
            verb(wrapped)


def test_a_handler_for_such_a_layer_is_heard() -> None:
    ann = ecl.prepare(quantised(relu_network()), handlers={Quantised: ecl.keep})
    assert type(ann.get_submodule("3")) is Quantised


def test_a_spiking_network_is_none_to_convert() -> None:
    snn = ecl.convert(prepared())
    for verb in (ecl.prepare, ecl.convert):
        with pytest.raises(ConfigError, match="is a SpikingNetwork already"):
            verb(snn)
