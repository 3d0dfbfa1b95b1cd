"""Compiled training learns what plain training learns, or is not compiled."""

from functools import partial

import pytest
import torch
from torch import nn

from tests.helpers.compilers import lossy
from tests.helpers.fits import DATA, net, same, trained, weights
from tests.helpers.parts import clips_of


def settled_net() -> nn.Module:
    """Thresholds that are set and follow nothing, so that compiled code may begin at once."""
    model = net()
    model(DATA.tensors[0])
    for clip in clips_of(model).values():
        clip.threshold = clip.threshold
    return model


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
def test_compiled_training_learns_what_plain_training_learns() -> None:
    plain, compiled = trained(settled_net()), trained(settled_net(), compile=True)
    assert weights(compiled).keys() == weights(plain).keys()
    for one, other in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_where_the_compiler_loses_gradients_training_goes_on_in_plain_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = trained(settled_net())
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=lossy))
    with pytest.warns(UserWarning, match=r"plain code: compiled by torch .* first is "):
        compiled = trained(settled_net(), compile=True)
    for one, other in zip(compiled.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)


def test_nothing_is_compiled_while_thresholds_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled code would not raise them."""
    monkeypatch.setattr(torch, "compile", lambda *args, **options: pytest.fail("compiled"))
    few = trained(compile=True, epochs=2)
    assert any(clip.follows for clip in clips_of(few).values())
    assert same(few, trained(epochs=2))
