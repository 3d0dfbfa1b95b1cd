"""The ANN that a spiking network is compared with, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from .._util.devices import device_of
from ..errors import ConfigError, EclError
from ..graph._example import example_in
from ..graph._trace import copied
from ..network import SpikingNetwork
from ..network._refusing_layer import layer_named
from ..nn._threshold_clip import ThresholdClip, clips_of
from ._prepare_again import prepared_with


class Activation(NamedTuple):
    """Input and output of one of the ANN's activations, both ``[B, ...]``."""

    current: Tensor
    output: Tensor


@contextmanager
def watching(
    clips: Mapping[str, ThresholdClip], see: Callable[[str, Activation], None]
) -> Iterator[None]:
    """Call ``see`` with input and output of some clips whenever their network runs."""
    with ExitStack() as stack:
        for name, clip in clips.items():

            def hook(module: nn.Module, args: Any, output: Tensor, name: str = name) -> None:
                see(name, Activation(args[0], output))

            stack.callback(clip.register_forward_hook(hook).remove)
        yield


class Reference:
    """A copy of an ANN in eval mode, on the SNN's device, whose activations are recorded.

    The ANN may be a ReLU network or a prepared one; it must have the activations of the SNN.
    """

    def __init__(self, ann: nn.Module, snn: SpikingNetwork) -> None:
        ann = copied(ann).eval()
        # Prepared, a ReLU network computes the same, and its clips are named like the SNN's layers.
        self._ann = ann if snn.neurons.keys() <= clips_of(ann).keys() else _prepared(ann, snn)
        self._ann.to(device_of(snn))
        self._clips = _activations(self._ann, snn.neurons.keys())

    def run(self, images: Tensor) -> tuple[Any, dict[str, Activation]]:
        """The ANN's output for images ``[B, ...]``, and its activations by spiking layer."""
        seen: dict[str, Activation] = {}
        output = self.watched(images, seen.__setitem__)
        return output, seen

    def watched(self, images: Tensor, see: Callable[[str, Activation], None]) -> Any:
        """The ANN's output for images; ``see`` gets each activation as it is computed."""
        with layer_named(self._ann, images), watching(self._clips, see):
            return self._ann(images)


def _prepared(ann: nn.Module, snn: SpikingNetwork) -> nn.Module:
    try:
        signed = any(neuron.signed for neuron in snn.neurons.values())
        example = example_in(snn.net)
        given = None if example is None else example.inputs()
        return prepared_with(snn.neurons.keys(), ann, signed=signed, example=given)
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
