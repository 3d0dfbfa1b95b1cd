"""The ANN that a spiking network is compared with, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from .._util.devices import device_of
from ..errors import ConfigError, EclError
from ..graph._trace import copied
from ..network import SpikingNetwork
from ..nn import ThresholdClip
from ._prepare import prepare


class Activation(NamedTuple):
    """What reaches one of the ANN's activations, and what it makes of it; both ``[B, ...]``."""

    current: Tensor
    output: Tensor


@contextmanager
def watching(
    clips: Mapping[str, ThresholdClip], see: Callable[[str, Activation], None]
) -> Iterator[None]:
    """Show what reaches and leaves some clips, while a network of ours runs."""
    with ExitStack() as stack:
        for name, clip in clips.items():

            def hook(module: nn.Module, args: Any, output: Tensor, name: str = name) -> None:
                see(name, Activation(args[0], output))

            stack.callback(clip.register_forward_hook(hook).remove)
        yield


class Reference:
    """A private copy of an ANN in eval mode, whose activations are looked at as it runs.

    Args:
        ann: A ReLU network, or a prepared one. It stays as it is.
        snn: The spiking network that it is compared with; the copy is where that one is.

    Raises:
        ConfigError: The ANN lacks activations that the spiking network has; they are named.
    """

    def __init__(self, ann: nn.Module, snn: SpikingNetwork) -> None:
        ann = copied(ann).eval()
        # An unset clip passes ReLU through, at the same names as the spiking layers.
        self._ann = ann if snn.neurons.keys() <= clips_of(ann).keys() else _prepared(ann)
        self._ann.to(device_of(snn))
        self._clips = _activations(self._ann, snn.neurons.keys())

    def run(self, images: Tensor) -> tuple[Any, dict[str, Activation]]:
        """The ANN's output for images ``[B, ...]``, and its activations by spiking layer."""
        seen: dict[str, Activation] = {}
        with watching(self._clips, seen.__setitem__):
            output = self._ann(images)
        return output, seen


def _prepared(ann: nn.Module) -> nn.Module:
    try:
        return prepare(ann)
    except EclError as error:
        raise ConfigError(
            f"the ANN's activations cannot be found: {error}\nGive the prepared network, what "
            "ecl.prepare returned"
        ) from error


def _activations(ann: nn.Module, names: Collection[str]) -> dict[str, ThresholdClip]:
    clips = clips_of(ann)
    missing = [name for name in names if name not in clips]
    if missing:
        raise ConfigError(
            f"the ANN has no activation {', '.join(missing)}: give the network that the spiking "
            "one was converted from"
        )
    return {name: clips[name] for name in names}


def clips_of(ann: nn.Module) -> dict[str, ThresholdClip]:
    """The clips of a network by name."""
    return {name: m for name, m in ann.named_modules() if isinstance(m, ThresholdClip)}
