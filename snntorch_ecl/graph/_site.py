"""What a handler is given: the place of a layer, and the settings of the conversion."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch.fx import Node

from .. import functional as F
from .._util.checks import check_neuron
from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """The settings of a conversion; each neuron is built with them.

    Attributes:
        negative_threshold: θ′ ≤ 0, absolute; ``-inf`` for plain IF neurons.
        initial_membrane: v(0) in units of θ (of the smallest spike).
        spike_grad: Surrogate gradient for fine-tuning; None is snnTorch's default.
        spike_sizes: K: spikes of ±θ, ±θ/2, … ±θ/2^(K−1).

    Raises:
        ConfigError: A setting is outside its range.

    Example:
        >>> ConvertConfig(negative_threshold=-float("inf")).initial_membrane
        0.5
    """

    negative_threshold: float = -1e-3
    initial_membrane: float = 0.5
    spike_grad: F.SurrogateGradient | None = None
    spike_sizes: int = 1

    def __post_init__(self) -> None:
        check_neuron(self.negative_threshold, self.initial_membrane, self.spike_sizes)
        if self.spike_grad is not None and not callable(self.spike_grad):
            raise ConfigError(f"spike_grad must be a function or None; got {self.spike_grad!r}")


@dataclass(frozen=True)
class Site:
    """The place of a layer in the network.

    Attributes:
        name: Qualified name of the layer, as in ``model.named_modules()``.
        node: The call in the traced graph.
        config: The settings of the running conversion.
    """

    name: str
    node: Node = field(repr=False)
    config: ConvertConfig
