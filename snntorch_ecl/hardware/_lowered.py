"""Networks that were lowered to a chip: what they share, and how they are saved and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.fx import GraphModule

from ..errors import ConfigError
from ..network import Observer, SpikingNetwork
from ..network._files import write_network
from ..network._predict import Prediction
from ..network._step_bias import step_biases


class LoweredNetwork(SpikingNetwork):
    """A spiking network in a form that a chip can run; it is used like any other.

    Args:
        net: The graph, with time inserted.
        source: The network it was made from.
        lowering: What was done: its kind and settings, as plain data.
        unit_spikes: Whether spikes are whole numbers; None: as in the source.
        latency: Steps that a run takes, if it can take no other number.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> from snntorch_ecl.hardware import two_channels
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> two_channels(convert(ann)).lowerings
        ({'kind': 'two channels'},)
    """

    _lowerings: tuple[dict[str, Any], ...]
    _converted: dict[str, Any]
    latency: int | None

    def __init__(
        self,
        net: GraphModule,
        source: SpikingNetwork,
        lowering: Mapping[str, Any],
        *,
        unit_spikes: bool | None = None,
        latency: int | None = None,
    ) -> None:
        unit = source.unit_spikes if unit_spikes is None else unit_spikes
        super().__init__(net, source.layers, unit_spikes=unit, norms=source.norms)
        before = source if isinstance(source, LoweredNetwork) else None
        self._lowerings = (*(before._lowerings if before else ()), dict(lowering))
        self._converted = before._converted if before else _settings(source)
        self.latency = before.latency if before and latency is None else latency

    @property
    def lowerings(self) -> tuple[dict[str, Any], ...]:
        """What was done to the converted network, one after the other."""
        return self._lowerings

    def forward(
        self, *inputs: Tensor, num_steps: int | None = None, piece: int | None = None
    ) -> Any:
        """As :meth:`SpikingNetwork.forward`; with a ``latency``, T is that and may be left out."""
        return super().forward(*inputs, num_steps=self._checked(num_steps), piece=piece)

    def logits_over_time(
        self,
        *inputs: Tensor,
        num_steps: int | None = None,
        piece: int | None = None,
        observers: Any = (),
        held: bool = True,
    ) -> Any:
        """As :meth:`SpikingNetwork.logits_over_time`; with a ``latency`` the last entry counts."""
        steps = self._checked(num_steps) if held else num_steps
        observers = tuple[Observer, ...](observers)
        return super().logits_over_time(
            *inputs, num_steps=steps, piece=piece, observers=observers, held=held
        )

    def predict(self, *inputs: Tensor, max_steps: int, **settings: Any) -> Prediction:
        """As :meth:`SpikingNetwork.predict`, where a run may end early."""
        if self.latency is not None:
            raise ConfigError(
                f"this network has its answer after {self.latency} steps, not earlier: call it "
                "in place of predict()"
            )
        return super().predict(*inputs, max_steps=max_steps, **settings)

    def _checked(self, num_steps: int | None) -> int | None:
        if self.latency is None or num_steps == self.latency:
            return num_steps
        if num_steps is None:
            return self.latency
        raise ConfigError(
            f"this network is made for runs of {self.latency} steps; got num_steps={num_steps}. "
            "Run it with num_steps=snn.latency"
        )

    def save(self, path: str | Path, *, figures: Mapping[str, Any] | None = None) -> Path:
        """Write tensors and settings to a safetensors file; see :meth:`SpikingNetwork.save`.

        Args:
            path: The file; missing folders are made.
            figures: What was measured on the network, as plain data.

        Returns:
            The path written. :func:`snntorch_ecl.load` reads it back.

        Raises:
            CheckpointError: The file cannot be written.
        """
        settings = {
            "layers": list(map(asdict, self.layers)),
            "neurons": {name: neuron.settings() for name, neuron in self.neurons.items()},
            **self._converted,
            "lowering": list(self._lowerings),
        }
        return write_network(path, self._tensors(), settings, figures or {})

    def _tensors(self) -> dict[str, Tensor]:
        """What the file holds."""
        return self.state_dict()


def _settings(snn: SpikingNetwork) -> dict[str, Any]:
    """What rebuilds the converted network that the first lowering began with."""
    return {
        "step_biases": step_biases(snn.net),
        "unit_spikes": snn.unit_spikes,
        "norms": snn.norms,
    }
