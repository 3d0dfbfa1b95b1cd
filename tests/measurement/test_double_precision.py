"""Some accelerators have no double precision: nothing may ask one for it.

A mode pretends that everything is on such a device until it is brought to the host (``cpu``,
``item``, ``tolist``, ``float(x)``), and refuses double precision before that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

import snntorch_ecl as ecl
from snntorch_ecl.measurement import exit_curve

CREATED_ON_HOST = {torch.zeros, torch.tensor, torch.ones, torch.empty, torch.arange, torch.logspace}


class NoDoubleOnDevice(TorchFunctionMode):
    """Tensors are on the device unless they were made on the host or brought there."""

    def __init__(self) -> None:
        super().__init__()
        self.host: set[int] = set()
        self.kept: list[Tensor] = []  # ids are those of living tensors
        self.seen = 0  # values on the device

    def on_host(self, value: Any) -> bool:
        return id(value) in self.host

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [v for v in tree_leaves((args, kwargs)) if isinstance(v, Tensor)]
        made = func(*args, **kwargs)
        if func is Tensor.cpu:
            made = made.view_as(made)  # here it would be the very tensor
        to_host = func is Tensor.cpu or (func in CREATED_ON_HOST and "device" not in kwargs)
        stays = bool(given) and all(self.on_host(v) for v in given)
        for value in tree_leaves(made):
            if isinstance(value, Tensor):
                if to_host or stays:
                    self.host.add(id(value))
                    self.kept.append(value)
                elif not self.on_host(value):
                    self.seen += 1
                    name = getattr(func, "__name__", func)
                    assert value.dtype != torch.float64, f"{name} makes float64 on the device"
        return made


def networks() -> tuple[nn.Module, nn.Module, ecl.SpikingNetwork]:
    torch.manual_seed(0)
    relu = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)).eval()  # fmt: skip
    ann = ecl.calibrate(ecl.prepare(relu), [torch.rand(9, 1, 6, 6)], progress=False)
    return relu, ann, ecl.convert(ann)


DATA = [(torch.rand(5, 1, 6, 6), torch.tensor([0, 1, 2, 0, 1]))]
QUIET: dict[str, Any] = {"progress": False}
VERBS: dict[str, Callable[..., Any]] = {
    "evaluate": lambda relu, ann, snn: ecl.evaluate(snn, DATA, num_steps=3, ann=ann, **QUIET),
    "verify": lambda relu, ann, snn: ecl.verify(snn, ann, DATA, num_steps=3, **QUIET),
    "energy": lambda relu, ann, snn: ecl.energy(snn, DATA, num_steps=3, **QUIET),
    "exit_curve": lambda relu, ann, snn: exit_curve(snn, DATA, max_steps=3, **QUIET),
    "predict": lambda relu, ann, snn: snn.predict(DATA[0][0], max_steps=3).mean_steps,
    "calibrate": lambda relu, ann, snn: ecl.calibrate(ecl.prepare(relu), DATA, **QUIET),
    "weights": lambda relu, ann, snn: ecl.compensate(snn, relu, DATA, num_steps=3, **QUIET),
    "train": lambda relu, ann, snn: ecl.prepare(relu).train()(DATA[0][0]).sum().backward(),
}


@pytest.mark.usefixtures("all_kept")
@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_asks_the_device_for_double_precision(verb: str) -> None:
    relu, ann, snn = networks()
    with NoDoubleOnDevice() as mode:
        VERBS[verb](relu, ann, snn)
    assert mode.seen > 0


def test_the_mode_notices_double_precision() -> None:
    x = torch.rand(3)
    with NoDoubleOnDevice():
        x.cpu().double().sum()
        with pytest.raises(AssertionError, match="float64 on the device"):
            x.double()
