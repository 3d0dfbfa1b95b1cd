"""Where a network cannot be compiled, plain code runs, and says so."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import InputError
from tests.helpers.compiled import graphs, images, small

pytestmark = [  # torch.compile's own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]


def test_hooks_see_plain_runs(traced_only: None) -> None:
    snn, seen = small().compile(progress=False), []
    hook = snn.net.get_submodule("1").register_forward_hook(lambda *a: seen.append(a[2].shape[0]))
    assert snn._runner.compiled is not None
    with torch.no_grad():
        snn(images(), num_steps=2)
        assert (len(snn._runner.compiled.graphs), seen) == (0, [12])
        hook.remove()
        snn(images(), num_steps=2)
        assert (len(snn._runner.compiled.graphs), seen) == (1, [12])


def test_a_compiled_network_exports(traced_only: None) -> None:
    snn = small().compile(progress=False)
    with torch.no_grad():
        wanted = snn(images(), num_steps=2)
        program = torch.export.export(snn, (images(),), {"num_steps": 2})
        torch.testing.assert_close(program.module()(images(), num_steps=2), wanted)


# ------------------------------------------------------------------------------- plain code


class Undecided(nn.Module):
    """Linear, but with a branch on a value that no compiler can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum().item() < 1e9 else x


def test_what_cannot_be_compiled_runs_in_plain_code_and_says_so_once(traced_only: None) -> None:
    snn = small(Undecided(), handlers={Undecided: ecl.keep}).compile(progress=False)
    plain = small(Undecided(), handlers={Undecided: ecl.keep})
    with torch.no_grad():
        wanted = plain(images(), num_steps=2)
        with pytest.warns(UserWarning, match=r"cannot be compiled for T = 2, inputs \[B, 2"):
            assert torch.equal(snn(images(), num_steps=2), wanted)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert torch.equal(snn(images(), num_steps=2), wanted)


def test_a_wrong_input_is_told_as_in_plain_code(traced_only: None) -> None:
    snn = small().compile(progress=False)
    with torch.no_grad(), pytest.raises(InputError, match="has no batch dimension"):
        snn(images()[0], num_steps=2)


def test_it_can_be_undone(traced_only: None) -> None:
    snn = small().compile(progress=False)
    assert snn.compile(False) is snn
    before = graphs()
    with torch.no_grad():
        snn(images(), num_steps=2)
        snn.step(images())
    assert graphs() == before


def test_without_a_compiler_it_warns_and_goes_on(no_compiler: None) -> None:
    snn = small()
    with pytest.warns(UserWarning, match="nothing can be compiled"):
        snn.compile()
    with torch.no_grad():
        assert torch.equal(snn(images(), num_steps=2), small()(images(), num_steps=2))
