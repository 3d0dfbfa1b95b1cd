"""Which layer cannot take an input, what it takes and what it was given: found after an error."""

from __future__ import annotations

import copy
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .._util.torch_internals import BatchNorm, Convolution
from ..errors import EclError, InputError

_LAYERS = os.path.dirname(nn.__file__)
_SIDES = {1: "L", 2: "H, W", 3: "D, H, W"}


@contextmanager
def layer_named(model: nn.Module, images: Tensor) -> Iterator[None]:
    """Turn torch's error of an ANN that cannot take these images into :class:`InputError`."""
    try:
        yield
    except (EclError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        words = refusing_layer(model, lambda twin: twin(images[:1]), images)
        if not words:
            raise  # the error has another cause
        raise InputError(words) from error


def refusing_layer(network: nn.Module, run: Callable[[nn.Module], object], *inputs: Tensor) -> str:
    """What to say of the layer at which a copy of the network fails; empty if none does."""
    twin = copy.deepcopy(network).eval()
    entered: list[tuple[str, nn.Module, Any]] = []
    for name, module in twin.named_modules():
        if not any(module.children()):
            module.register_forward_pre_hook(
                lambda module, args, name=name: entered.append((name, module, args))
            )
            module.register_forward_hook(lambda *_: entered.clear())
    try:
        with torch.no_grad():
            run(twin)
        return ""
    except Exception as error:
        if not (entered and _is_of_torchs_layers(error)):
            return ""
        name, module, args = entered[-1]
        given = [x for x in args if isinstance(x, Tensor)]
        kind = f"{name.removeprefix('net.')} ({type(module).__name__})"
        shapes = ", ".join(str(list(x.shape)) for x in inputs)
        if given and not given[0].is_floating_point():
            return (
                f"input of type {given[0].dtype}: {kind} takes floating-point numbers, scaled as "
                "in the training (for images of 0 to 255 often x.float() / 255)"
            )
        got, takes = ", ".join(str(list(x.shape)) for x in given), _takes(module)
        return (
            f"input of shape {shapes} does not fit the network: {kind} "
            f"{f'takes {takes}, and is given' if takes else 'cannot take'} {got} "
            f"({str(error).strip():.200}). Give input of the size and the channels that the "
            "network was made for"
        )


def _is_of_torchs_layers(error: Exception) -> bool:
    """Whether an error was raised by a layer of torch, not by a hook or a layer of one's own."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_code.co_filename.startswith(_LAYERS)


def _takes(module: nn.Module) -> str:
    """The shape that a layer takes, as far as it is known from its settings."""
    if isinstance(module, Convolution):
        return f"[B, {module.in_channels}, {_SIDES[len(module.kernel_size)]}]"
    if isinstance(module, nn.Linear):
        return f"[B, ..., {module.in_features}]"
    if isinstance(module, BatchNorm):
        return f"[B, {module.num_features}, ...]"
    return ""
