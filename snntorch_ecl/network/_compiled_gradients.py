"""Whether compiled code learns what plain code does: compared once, where compiling begins.

Dynamo of torch 2.11 dropped gradients of functions without an error, and networks learned nothing.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .._util.rng import own_random_numbers
from ..errors import StateError
from ..nn._threshold_clip import clips_of

# A gradient that vanished has a relative error of 1, one that points elsewhere has more.
_MOST_ERROR = 0.7
# Rounding moves activations to the next level, and in a deep network nearly all after them, so
# that gradients have other directions, but lengths like before. A threshold's one gradient has
# its sign and length by chance: of each is only asked whether it vanished, of all the rest.
_MOST_RATIO, _MOST_RATIO_OF_FEW, _FEW = 5.0, 1e5, 16
_SMALL = "thresholds and other single parameters"
# What plain code itself makes of other random numbers and of weights rounded as to bfloat16.
_ROUNDING, _MOST_NOISE = 2**-8, 3.0
# A gradient this small beside the largest is rounding, as of a bias before a batch norm.
_NEGLIGIBLE = 0.01


def check_compiled_gradients(
    network: nn.Module, plain: Callable[[], Tensor], compiled: Callable[[], Tensor]
) -> bool:
    """Compare the gradients of plain and of compiled code; the network is left as it was.

    Args:
        network: Whose parameters' gradients are compared.
        plain: Runs the network in plain code on a batch; returns the loss, a scalar.
        compiled: The same in compiled code.

    Returns:
        Whether they could be compared: plain code may need more memory than there is, and its
        gradients may be infinite.

    Raises:
        StateError: The gradients of a layer differ by more than rounding explains.

    Example:
        >>> net, x = nn.Linear(3, 2), torch.rand(4, 3)
        >>> check_compiled_gradients(net, lambda: net(x).sum(), lambda: net(x).sum())
        True
    """
    made = _gradients(network, compiled)
    try:
        # In compiled code, thresholds do not follow.
        wanted = _gradients(network, plain, follow=False)
        varied = _gradients(network, plain, follow=False, vary=True)
    except torch.OutOfMemoryError:
        warnings.warn(
            "the gradients of compiled code could not be checked: plain code, to compare them "
            "with, needs more memory than there is",
            stacklevel=3,
        )
        return False
    found = _by_layer(network, made, wanted, varied)
    least = _NEGLIGIBLE * max((layer.wanted for layer in found.values()), default=0.0)
    if not math.isfinite(least):
        return False  # plain code diverges as well
    wrong = [name for name, layer in found.items() if not layer.is_alike(least)]
    if wrong:
        first = found[wrong[0]]
        raise StateError(
            f"compiled by torch {torch.__version__}, {len(wrong)} of {len(found)} layers have "
            f"gradients other than in plain code. The first is {wrong[0]!r}: its gradient has "
            f"length {first.made:.3g}, in plain code {first.wanted:.3g}. Compiled, the network "
            "would learn something else, or nothing. Train in plain code (compile: false), "
            "or install another release of torch"
        )
    return True


class _Layer(NamedTuple):
    """Lengths of a layer's gradients, and of the differences to the wanted one."""

    size: int
    made: float
    wanted: float
    varied: float
    error: float
    noise: float

    def is_alike(self, least: float) -> bool:
        """Whether compiled code may have made the wanted gradient; least: what is negligible."""
        ratio = _MOST_RATIO_OF_FEW if self.size < _FEW else _MOST_RATIO
        low, high = sorted(max(length, least) for length in (self.wanted, self.varied))
        if self.made > high * ratio or (low > least and self.made < low / ratio):
            return False
        return self.size < _FEW or self.error <= _MOST_ERROR * high + _MOST_NOISE * self.noise


def _gradients(
    network: nn.Module, loss: Callable[[], Tensor], *, follow: bool = True, vary: bool = False
) -> list[Tensor]:
    """Each parameter's gradient; varied with other random numbers and rounded weights."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    with _kept(network), own_random_numbers(int(vary)), torch.enable_grad():
        if not follow:
            for clip in clips_of(network).values():
                clip._follow_for(0)
        if vary:
            for parameter in parameters:
                parameter.data.mul_(1 + _ROUNDING * (torch.rand_like(parameter) - 0.5))
        value = loss()
        if not value.requires_grad:  # the compiler lost all of them
            return [torch.zeros_like(p) for p in parameters]
        # Not `backward()`: nobody's `.grad` changes, and DDP's hooks do not run.
        return list(
            torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
        )


@contextmanager
def _kept(network: nn.Module) -> Iterator[None]:
    """Whatever modules change within the block (statistics, counters, λ) is put back."""
    attributes = [
        (now, dict(now))
        for module in network.modules()
        for now in (vars(module), module._buffers, module._parameters)
    ]
    values = [(t, t.detach().clone()) for t in (*network.parameters(), *network.buffers())]
    try:
        yield
    finally:
        for now, before in attributes:
            now.clear()
            now.update(before)
        for tensor, value in values:
            tensor.data.copy_(value)


def _by_layer(network: nn.Module, *gradients: list[Tensor]) -> dict[str, _Layer]:
    """Compare gradients layer by layer: one parameter's may be rounding beside another's."""
    squares: dict[str, Tensor] = {}
    sizes: Counter[str] = Counter()
    names = [name for name, p in network.named_parameters() if p.requires_grad]
    for name, made, wanted, varied in zip(names, *gradients, strict=True):
        layer = name.rpartition(".")[0] or type(network).__name__
        kinds = (made, wanted, varied, made - wanted, varied - wanted)
        found = torch.stack([kind.float().square().sum() for kind in kinds])
        squares[layer] = squares.get(layer, 0) + found
        sizes[layer] += made.numel()
    small = [name for name, size in sizes.items() if size < _FEW]
    if sum(sizes[name] for name in small) >= _FEW:
        squares[_SMALL] = torch.stack([squares[name] for name in small]).sum(0)
        sizes[_SMALL] = sum(sizes[name] for name in small)
    return {name: _Layer(sizes[name], *found.sqrt().tolist()) for name, found in squares.items()}
