"""New modules are named after where they are called, and no name is taken twice."""

from __future__ import annotations

import pytest
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_ecl.graph._names import owner, unique_name
from snntorch_ecl.graph._trace import trace
from tests.helpers.graphs import called, normalised
from tests.helpers.parts import wired

pytestmark = pytest.mark.usefixtures("seeded")


def test_new_modules_are_named_after_where_they_are_called() -> None:
    class Block(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(F.relu(x))

    gm = normalised(wired(lambda m, x: F.relu(m.block(m.block(x))), block=Block()))
    assert called(gm, "call_module") == [
        "block.relu", "block.relu_1", "block.relu_2", "block.relu_3", "relu",
    ]  # fmt: skip


def test_owner_is_the_module_whose_code_makes_the_call() -> None:
    class Block(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    gm = trace(wired(lambda m, x: m.outer(x) + 1, outer=nn.Sequential(Block())))
    owners = {node.name: owner(node) for node in gm.graph.nodes if node.op == "call_function"}
    assert owners == {"mul": "outer.0", "add": ""}


def test_unique_name_steps_around_modules_parameters_and_methods() -> None:
    gm = trace(nn.Sequential(nn.Linear(2, 2)))
    assert unique_name(gm, "free") == "free"
    assert unique_name(gm, "0") == "0_1"
    assert unique_name(gm, "0.weight") == "0.weight_1"
    assert unique_name(gm, "forward") == "forward_1"
    gm.add_submodule("0_1", nn.ReLU())
    assert unique_name(gm, "0") == "0_2"
    assert unique_name(gm, "nowhere.relu") == "nowhere.relu"
