"""``compensate``: what thresholds alone cannot mend, biases can, from the same unlabelled data."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from tqdm import tqdm

from .calibrate import images_of
from .checks import check_num_steps
from .errors import DataError
from .meters import activations_of, watched_ann
from .network import SpikingNetwork
from .neuron import DualThreshold
from .processes import device_of
from .temporal import Hold, unfold

__all__ = ["compensate"]

# Halvings of the interval in which a bias is sought: to θ/1024. The mean output rises with the
# bias, but in jumps, where many neurons cross a level together; Newton's steps would circle.
_ROUNDS = 11

_ADDITIONS = (operator.add, operator.iadd, torch.add)


def compensate(
    snn: SpikingNetwork,
    ann: nn.Module,
    data: Iterable[Any],
    *,
    num_steps: int,
    key: str | None = None,
    progress: bool = True,
) -> SpikingNetwork:
    """Correct biases so that each layer spikes, on average, as its ANN activates.

    Layer by layer in the network's order, and channel by channel, the bias before each neuron is
    moved until the mean spike output over ``num_steps`` matches the ANN's mean activation; later
    layers see the corrected ones before them. At last the mean logits are matched. No labels, no
    gradients; the network keeps its shape and costs nothing more to run.

    Args:
        snn: The converted network. It stays as it is.
        ann: What it should agree with: the ReLU network it came from, or the prepared one.
        data: A few hundred unlabelled images in batches: tensors ``[B, ...]``, tuples that begin
            with one, or dicts. They run through the spiking network together.
        num_steps: T at which it will run; the correction is for this T.
        key: Name of the input in batches that are dicts.
        progress: Show a progress bar.

    Returns:
        A corrected copy of the network.

    Raises:
        ConfigError: num_steps < 1, or the ANN has other layers than the network.
        DataError: No data, or batches of another form.

    Example:
        >>> from snntorch_ecl import calibrate, convert, prepare
        >>> relu_network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> data = [torch.rand(64, 8)]
        >>> snn = convert(calibrate(prepare(relu_network), data, progress=False))
        >>> better = compensate(snn, relu_network, data, num_steps=4, progress=False)
        >>> better(torch.rand(3, 8), num_steps=4).shape
        torch.Size([3, 2])
    """
    check_num_steps(num_steps)
    snn = copy.deepcopy(snn)
    device = device_of(snn)
    images = [images_of(batch, i, key).to(device) for i, batch in enumerate(data)]
    if not images:
        raise DataError("the data is empty: there is no batch to compensate with")
    with torch.no_grad():
        targets, logits = _means_of_ann(ann, snn, images)
        sites = {name: _bias_before(snn.net, name) for name in snn.neurons}
        correctors = {
            name: _Corrector(snn.neurons[name], site, targets[name], num_steps)
            for name, site in sites.items()
            if site is not None
        }
        bar = tqdm(
            total=len(correctors), desc="compensate", unit="layer", disable=not progress,
            leave=False, delay=2,
        )  # fmt: skip
        handles = [
            c.neuron.register_forward_pre_hook(c.on_current(bar.update), with_kwargs=True)
            for c in correctors.values()
        ]
        try:
            output = snn(torch.cat(images), num_steps=num_steps)
        finally:
            bar.close()
            for handle in handles:
                handle.remove()
        for corrector in correctors.values():
            _add_bias(corrector.site, corrector.bias)
        last = _bias_before(snn.net, None)
        if last is not None and isinstance(output, Tensor) and output.ndim == 2:
            _add_bias(last, logits - output.mean(0))
    snn.reset()
    return snn


def _means_of_ann(
    ann: nn.Module, snn: SpikingNetwork, images: list[Tensor]
) -> tuple[dict[str, Tensor], Tensor]:
    """The ANN's mean activation by layer and channel, and its mean logits."""
    ann = watched_ann(ann, snn.neurons).to(device_of(snn))
    sums: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            sums[name] = sums.get(name, 0) + _over_channels(output).double() * len(output)

        return hook

    for name, clip in activations_of(ann, snn.neurons).items():
        clip.register_forward_hook(watch(name))
    outputs = [ann(batch) for batch in images]
    count = sum(map(len, images))
    logits = torch.cat(outputs).mean(0) if isinstance(outputs[0], Tensor) else torch.zeros(())
    return {name: (total / count).float() for name, total in sums.items()}, logits


def _over_channels(values: Tensor) -> Tensor:
    """Mean of each channel, ``[B, C, ...]`` to ``[C]``."""
    return values.transpose(0, 1).flatten(1).mean(1)


class _Corrector:
    """Finds the bias of one layer's channels while the network runs."""

    def __init__(
        self, neuron: DualThreshold, site: nn.Module, target: Tensor, num_steps: int
    ) -> None:
        self.neuron = neuron
        self.site = site
        self.twin = copy.deepcopy(neuron)  # before any hook that it would inherit
        self.target = target
        self.num_steps = num_steps
        self.bias = torch.zeros_like(target)

    def on_current(self, done: Any) -> Any:
        """A forward pre-hook that hands the neuron its corrected current."""

        def hook(module: nn.Module, args: tuple[Tensor], kwargs: dict[str, Any]) -> Any:
            current = args[0]
            done(1)
            if isinstance(self.site, nn.Linear) and current.ndim != 2:
                return None  # its bias lies along the last dimension, thresholds along the second
            # A channel that cannot reach its target must not be pushed for ever.
            high = self.neuron.threshold.detach() * torch.ones_like(self.target)
            low = -high
            for _ in range(_ROUNDS):
                self.bias = (low + high) / 2
                falls_short = self._mean_output(current, kwargs) < self.target
                low = torch.where(falls_short, self.bias, low)
                high = torch.where(falls_short, high, self.bias)
            return (self._shifted(current),), kwargs

        return hook

    def _mean_output(self, current: Tensor, kwargs: dict[str, Any]) -> Tensor:
        self.twin.reset_mem()
        spikes = self.twin(self._shifted(current), **kwargs)
        return _over_channels(unfold(spikes, self.num_steps).mean(0))

    def _shifted(self, current: Tensor) -> Tensor:
        return current + self.bias.view(-1, *[1] * (current.ndim - 2))


# ------------------------------------------------------------------------------ where biases are


def _bias_before(net: GraphModule, neuron: str | None) -> nn.Module | None:
    """The module whose bias is added, channel by channel, to a neuron's current (or the output)."""
    calls = [node.target for node in net.graph.nodes if node.op == "call_module"]
    end = next(n for n in net.graph.nodes if n.target == (neuron or "output"))
    waiting = [end.args[0]]
    while waiting:
        node = waiting.pop()
        # A value that goes elsewhere too would take the bias along.
        if not isinstance(node, Node) or len(node.users) != 1:
            continue
        if node.op == "call_function" and node.target in _ADDITIONS and not node.kwargs:
            waiting += [source for source in node.args if isinstance(source, Node)]
        elif node.op == "call_module":
            module = net.get_submodule(str(node.target))
            if isinstance(module, (nn.Dropout, nn.Identity, Hold)):
                waiting.append(node.args[0])
            elif calls.count(node.target) == 1 and _has_own_bias(net, module):
                return module
    return None


def _has_own_bias(net: GraphModule, module: nn.Module) -> bool:
    """Whether a module has a bias that no other module shares."""
    bias = getattr(module, "bias", None)
    users = [other for other in net.modules() if getattr(other, "bias", None) is bias]
    return isinstance(bias, nn.Parameter) and len(users) == 1


def _add_bias(module: nn.Module, bias: Tensor) -> None:
    assert isinstance(module.bias, nn.Parameter)
    module.bias.data = module.bias.data + bias.to(module.bias.dtype)
