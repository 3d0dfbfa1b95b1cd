"""The means over time of a spiking network: as a run gives them, and with gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Interpreter, Node

from .._util.torch_internals import tree_map
from ..functional._channels import over_channels
from ..graph._names import module_of
from ..network import Observer, Seen, SpikingNetwork
from ..nn import DualThreshold, Temporal, unfold
from ._response import answer


class Means(Observer):
    """Adds up the outputs of every neuron while a network runs on one group of images."""

    def __init__(self, snn: SpikingNetwork) -> None:
        super().__init__(snn.neurons.keys())
        self.sums: dict[str, list[Tensor]] = {}
        self._began: set[str] = set()

    def begin(self, *inputs: Tensor) -> None:
        """The next images: their sums start at zero."""
        self._began = set()

    def see(self, seen: Seen) -> None:
        """Add some steps."""
        sums = self.sums.setdefault(seen.name, [])
        if seen.name not in self._began:
            self._began.add(seen.name)
            sums.append(torch.zeros_like(seen.output[: len(seen.output) // seen.num_steps]))
        sums[-1] += unfold(seen.output, seen.num_steps).sum(0)


def measured(snn: SpikingNetwork, images: Tensor, steps: int) -> tuple[Any, dict[str, Tensor]]:
    """A network's output for images ``[B, ...]``, and the mean output of each of its neurons."""
    means = Means(snn)
    outputs = snn.logits_over_time(images, num_steps=steps, observers=[means])
    output = tree_map(lambda v: v[-1] if isinstance(v, Tensor) else v, outputs)
    return output, {name: torch.cat(sums) / steps for name, sums in means.sums.items()}


class Replay(Interpreter):
    """Runs a network once on means over time, so that gradients cost one step instead of T.

    Layers between neurons are affine: means pass through them as the currents of each step do. A
    neuron's mean is the one that is given for it; its gradient is that of a clip from 0 to θ.

    Args:
        snn: The network.
        thresholds: θ by neuron, where gradients of θ are wanted too; spikes must be worth θ there.
        num_steps: T.
    """

    def __init__(
        self, snn: SpikingNetwork, thresholds: Mapping[str, Tensor], num_steps: int
    ) -> None:
        super().__init__(snn.net)
        self.extra_traceback = False
        self._thresholds, self._num_steps = thresholds, num_steps
        self._given: Mapping[str, Tensor] | None = None
        self._means: dict[str, Tensor] = {}

    def means(
        self, images: Tensor, given: Mapping[str, Tensor] | None
    ) -> tuple[Any, dict[str, Tensor]]:
        """The network's output for images, and the mean output of each of its neurons.

        Without given means, a neuron gets its mean current at every step: nothing is uneven.
        """
        self._given, self._means = given, {}
        output = self.run(images, 1, 1)
        return output, self._means

    def run_node(self, n: Node) -> Any:
        """Run one node; neurons as clips, other layers with state from a fresh state."""
        module: Any = module_of(self.module, n)  # type: ignore[arg-type]
        if isinstance(module, DualThreshold):
            (current, *_), _ = self.fetch_args_kwargs_from_env(n)
            mean = self._means[str(n.target)] = self._mean(str(n.target), module, current)
            return mean
        if isinstance(module, Temporal):
            module.begin()
        return super().run_node(n)

    def _mean(self, name: str, neuron: DualThreshold, current: Tensor) -> Tensor:
        worth = over_channels(neuron.graded_spikes_factor, current)
        theta = over_channels(self._thresholds.get(name, neuron.threshold.detach()), current)
        if self._given is None:
            share = self._settled(neuron, current.detach(), theta.detach())
        else:
            share = self._given[name] / worth
        # A levelled neuron is bounded below T spikes.
        most = getattr(neuron, "most_spikes", self._num_steps) / self._num_steps
        clipped = (current / theta).clamp(-most if neuron.signed else 0, most)
        return (theta if name in self._thresholds else worth) * (share + clipped - clipped.detach())

    def _settled(self, neuron: DualThreshold, current: Tensor, theta: Tensor) -> Tensor:
        """The mean net count for a constant current."""
        sizes, signed = neuron.spike_sizes, neuron.signed
        usual = type(neuron) is DualThreshold and neuron.initial_membrane == 0.5
        if usual and (sizes == 1 or not signed):
            return answer(current, theta, self._num_steps, sizes, signed=signed)
        worth = over_channels(neuron.graded_spikes_factor, current)
        with torch.no_grad():
            neuron.begin()
            spikes = neuron(current, num_steps=self._num_steps, held=self._num_steps)
            neuron.begin()
            return unfold(spikes, self._num_steps).mean(0) / worth
