"""An adapter with which NeuroBench's metrics can measure a converted network.

NeuroBench takes an input of −1, 0 and +1 for spikes and calls what they trigger additions
("effective ACs"); anything else multiplies ("effective MACs"). It is not imported here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import ConfigError, InputError
from ..network._network import SpikingNetwork


class NeuroBenchNet(nn.Module):
    """A converted network as ``neurobench.models.SNNTorchModel`` calls it: one step at a time.

    NeuroBench's data is ``[B, T, ...]``; give each image T times:
    ``images.unsqueeze(1).expand(-1, T, -1, -1, -1)``. The outputs that come back, ``[B, T, ...]``,
    must be averaged or added up over T. Layers before the first neuron run at every step here, and
    are counted T times; :func:`snntorch_ecl.energy` counts them once. No gradients are recorded:
    NeuroBench would keep the graph of all steps. Its ``NeuronOperations`` knows four of snnTorch's
    neurons, but not dual-threshold ones.

    Args:
        snn: A network converted with ``unit_spikes=True``. It is not copied: its state is reset.

    Raises:
        ConfigError: Its spikes are worth θ, or have several sizes, or it has no dual-threshold
            neuron.

    Example:
        >>> from snntorch_ecl import ThresholdClip, convert
        >>> ann = nn.Sequential(nn.Linear(8, 16), ThresholdClip(4, 1.0), nn.Linear(16, 2))
        >>> net = NeuroBenchNet(convert(ann, unit_spikes=True))
        >>> data = torch.rand(3, 1, 8).expand(-1, 4, -1)
        >>> net.reset()  # SNNTorchModel(net)(data) runs what follows
        >>> outputs = torch.stack([net(data[:, t])[0] for t in range(4)], dim=1)
        >>> outputs.shape
        torch.Size([3, 4, 2])
        >>> torch.allclose(outputs.mean(1), net.snn(data[:, 0], num_steps=4))
        True
    """

    def __init__(self, snn: SpikingNetwork) -> None:
        super().__init__()
        if not snn.unit_spikes:
            raise ConfigError(
                "this network's spikes are worth θ, and NeuroBench would count multiplications "
                "where they arrive; convert with convert(ann, unit_spikes=True)"
            )
        if not snn.neurons:
            raise ConfigError(
                "this network has no dual-threshold neuron whose membrane could be returned; "
                "convert without a handler of your own for ThresholdClip"
            )
        for name, neuron in snn.neurons.items():
            if neuron.spike_sizes > 1:
                raise ConfigError(
                    f"{name} has spikes of {neuron.spike_sizes} sizes, and NeuroBench would count "
                    "multiplications where they arrive; convert with spike_sizes=1, or use "
                    "ecl.energy"
                )
        self.snn = snn

    @torch.no_grad()
    def forward(self, input_: Tensor) -> tuple[Tensor, Tensor]:
        """Advance by one step from the present state.

        Args:
            input_: ``[B, ...]``, the input of this step.

        Returns:
            The output of this step, what ``snn.step`` returns; and the membrane of the last
            dual-threshold neuron, as the output layer has none.

        Raises:
            InputError: The network takes several inputs, or returns something other than a
                tensor; or the input is empty, NaN or infinite.
            StateError: Its shape changed without :meth:`reset`.
        """
        output = self.snn.step(input_)
        if not isinstance(output, Tensor):
            raise InputError(
                f"NeuroBench stacks outputs over time and needs a tensor; got "
                f"{type(output).__name__}: let the network return one"
            )
        *_, last = self.snn.neurons.values()
        return output, last.mem

    def reset(self) -> None:
        """Start a new sequence; NeuroBench calls this before each batch."""
        self.snn.reset()
